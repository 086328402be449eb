"""Files of doors for the tests, and the relay that they open."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.doors.judging import Presented
from service.doors.rules import DoorsFile
from tests.conftest import free_port

RELAY = Path(__file__).with_name("relay.py")

# Everybody who is recognised may enter, except mallory.
OPEN_TO_ALL = """
[[doors.front.rules]]
name = "everybody"
effect = "allow"
who = { anyone = true }
max_fmr = 1e-2

[[doors.front.rules]]
name = "not-mallory"
effect = "deny"
who = { subjects = ["mallory"] }
"""


def doors_text(
    rules: str = OPEN_TO_ALL,
    *,
    output: str = 'kind = "http"\nurl = "http://127.0.0.1:9/"',
    door: str = "",
    groups: str = "",
) -> str:
    return f"""
version = 1
{groups}
[doors.front]
cameras = ["entry", "yard"]
{door}
[doors.front.output]
{output}
{rules}
"""


def doors_of(text: str) -> DoorsFile:
    return DoorsFile.model_validate(tomllib.loads(text))


def person(subject_id: str | None = "ada", **changed: Any) -> Presented:
    """Ada before the camera `entry`, unmasked, in NIR, in a good frame."""
    known: dict[str, Any] = {
        "camera": "entry",
        "key_id": "k1",
        "masks": (False,),
        "spectrum": "nir",
        "quality": 80,
        "fmr": 1e-4,
    }
    return Presented(subject_id=subject_id, **(known | changed))


class Relay:
    """A relay as a process of its own; `mode`: ok, slow, fails, redirects or dies."""

    def __init__(self, file: Path, mode: str) -> None:
        self.file, self.port = file, free_port()
        command = [sys.executable, str(RELAY), str(self.port), str(file), mode]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def output(self, more: str = "") -> str:
        return f'kind = "http"\nurl = "http://127.0.0.1:{self.port}/open?relay=1"\n{more}'

    def calls(self) -> list[dict[str, Any]]:
        lines = self.file.read_text().splitlines() if self.file.is_file() else []
        return [json.loads(line) for line in lines]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def relay(file: Path, mode: str = "ok") -> Iterator[Relay]:
    started = Relay(file, mode)
    try:
        yield started
    finally:
        started.stop()
