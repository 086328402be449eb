"""The files of a job's directory: how the service and a process that works for it talk.

    request.json     what is asked, written by the service before the process starts
    heartbeat        its time of change says when a runner last looked after the job
    progress.jsonl   lines that the process appends
    result.json      written whole, last of all: how it ended
    log.txt          what the process prints
    lock             held by the process that works here
    private/         what must not outlive the job, whatever becomes of it

A process that ends without a result was interrupted: it is started again, and goes on from what it
kept in the directory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from faces.files import write_whole
from faces.strict import Strict

REQUEST, HEARTBEAT, PROGRESS = "request.json", "heartbeat", "progress.jsonl"
RESULT, LOG, LOCK, PRIVATE = "result.json", "log.txt", "lock", "private"
STAGE_CHARACTERS, MESSAGE_CHARACTERS = 64, 2000


class Progress(Strict):
    """One line: how far, at what, and what was measured so far. No path of the machine in it."""

    fraction: Annotated[float, Field(ge=0, le=1)]
    stage: Annotated[str, Field(max_length=STAGE_CHARACTERS)]
    message: Annotated[str, Field(max_length=MESSAGE_CHARACTERS)] = ""
    metrics: dict[str, Any] = {}


class Result(Strict):
    """The end. `message`: the reason of a failure, or a sentence on what came of it."""

    state: Literal["succeeded", "failed"]
    message: Annotated[str, Field(max_length=MESSAGE_CHARACTERS)]
    metrics: dict[str, Any] = {}


def write_json(path: Path, value: Any) -> None:
    """Written beside, flushed, renamed: readers see the old file or the new one."""
    write_whole(path, json.dumps(value, indent=1, allow_nan=False).encode())


def append_progress(directory: Path, progress: Progress) -> None:
    """One line in one write, so that a reader never sees half of it behind a whole one.

    Raises ValueError for a number that JSON does not know.
    """
    with (directory / PROGRESS).open("ab", buffering=0) as stream:
        stream.write(json.dumps(progress.model_dump(mode="json"), allow_nan=False).encode() + b"\n")


def read_progress(directory: Path, offset: int) -> tuple[list[Progress], int]:
    """The whole lines behind byte `offset`, and where the next ones begin; what is no line is left out."""
    try:
        with (directory / PROGRESS).open("rb") as stream:
            stream.seek(offset)
            data = stream.read()
    except FileNotFoundError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    found = []
    for line in whole.splitlines():
        try:
            found.append(Progress.model_validate_json(line))
        except ValidationError:
            continue
    return found, offset + len(whole)


def read_result(directory: Path) -> Result | None:
    """None while there is none."""
    try:
        return Result.model_validate_json((directory / RESULT).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
