"""The real command line in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.conftest import sample_bytes

HALFLIGHT = (sys.executable, "-m", "service.cli.main")
TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Said:
    """What a command answered; `out` is data, `err` is talk."""

    code: int
    out: str
    err: str

    def lines(self) -> list[dict[str, Any]]:
        """With `--json`: one object a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    def cells(self) -> list[list[str]]:
        """A table's rows without its head, split where two spaces stand."""
        rows = [line.split("  ") for line in self.out.splitlines() if line.strip()]
        return [[cell.strip() for cell in row if cell.strip()] for row in rows[2:]]


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process', without an address or a key that the caller may have set."""
    kept = {name: v for name, v in os.environ.items() if name not in ("HALFLIGHT_URL", "HALFLIGHT_KEY")}
    return kept | dict(env or {})


def halflight(*arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Said:
    """Run to the end. No command may ever show a traceback."""
    done = subprocess.run(
        [*HALFLIGHT, *map(str, arguments)],
        env=environment(env),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return Said(done.returncode, done.stdout, done.stderr)


def succeeds(*arguments: str | Path, **options: Any) -> Said:
    said = halflight(*arguments, **options)
    assert said.code == 0, said.err
    return said


def fails(code: int, *arguments: str | Path, told: Sequence[str], **options: Any) -> Said:
    """Ends with `code`, and stderr holds every one of `told`."""
    said = halflight(*arguments, **options)
    assert said.code == code, said.err
    for words in told:
        assert words in said.err
    return said


def mirrored(subject: str, name: str = "vis_1.jpg") -> bytes:
    """A sample that no other test enrols: its own template, of whom nobody else is the best match."""
    pixels = cv2.imdecode(np.frombuffer(sample_bytes(subject, name), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return cv2.imencode(".png", np.ascontiguousarray(pixels[:, ::-1]))[1].tobytes()


def photo(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    return path
