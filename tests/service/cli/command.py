"""Runs the real command line in a child process."""

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
class CommandResult:
    """Exit code, stdout (data) and stderr (status messages) of a command."""

    code: int
    out: str
    err: str

    def lines(self) -> list[dict[str, Any]]:
        """Parses the output of `--json`: one object a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    def cells(self) -> list[list[str]]:
        """Returns the rows of a table without its header, split at two spaces."""
        rows = [line.split("  ") for line in self.out.splitlines() if line.strip()]
        return [[cell.strip() for cell in row if cell.strip()] for row in rows[2:]]


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the environment of this process without the address and key of a service.

    Tables get a width at which no row folds.
    """
    kept = {name: v for name, v in os.environ.items() if name not in ("HALFLIGHT_URL", "HALFLIGHT_KEY")}
    return kept | {"COLUMNS": "2000"} | dict(env or {})


def halflight(
    *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> CommandResult:
    """Runs a command to its end and asserts that it shows no traceback."""
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
    return CommandResult(done.returncode, done.stdout, done.stderr)


def succeeds(*arguments: str | Path, **options: Any) -> CommandResult:
    result = halflight(*arguments, **options)
    assert result.code == 0, result.err
    return result


def fails(code: int, *arguments: str | Path, expected: Sequence[str], **options: Any) -> CommandResult:
    """Asserts that a command exits with `code` and that stderr holds each of `expected`."""
    result = halflight(*arguments, **options)
    assert result.code == code, result.err
    for words in expected:
        assert words in result.err
    return result


def mirrored(subject: str, name: str = "vis_1.jpg") -> bytes:
    """Returns a mirrored sample, which no other test enrols, so that it is the best match of itself."""
    pixels = cv2.imdecode(np.frombuffer(sample_bytes(subject, name), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return cv2.imencode(".png", np.ascontiguousarray(pixels[:, ::-1]))[1].tobytes()


def photo(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    return path
