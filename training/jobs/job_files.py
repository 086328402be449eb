"""Defines the files of a job's directory, as the process that works for the service reads and writes them.

    request.json     the request; the service writes it before it starts the process
    heartbeat        its modification time is the last time a runner looked after the job
    progress.jsonl   the process appends lines
    result.json      the process writes it whole, last of all: how the job ended
    lock             the process that works here holds it
    private/         what must not outlive the job, whatever its end

The service has definitions of its own in `service.jobs.job_files`: it may be another installation, and
neither package imports the other. `tests/test_job_files.py` holds the two against each other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from faces.files import write_json
from faces.strict import Strict

REQUEST, HEARTBEAT, PROGRESS = "request.json", "heartbeat", "progress.jsonl"
RESULT, LOCK, PRIVATE = "result.json", "lock", "private"
STAGE_CHARACTERS, MESSAGE_CHARACTERS = 64, 2000


class Progress(Strict):
    """One line: the share done, the stage, and what was measured so far. It names no path."""

    fraction: Annotated[float, Field(ge=0, le=1)]
    stage: Annotated[str, Field(max_length=STAGE_CHARACTERS)]
    message: Annotated[str, Field(max_length=MESSAGE_CHARACTERS)] = ""
    metrics: dict[str, Any] = {}


class Result(Strict):
    """The end. `message` is the reason of a failure, or a sentence on the outcome."""

    state: Literal["succeeded", "failed"]
    message: Annotated[str, Field(max_length=MESSAGE_CHARACTERS)]
    metrics: dict[str, Any] = {}


def append_progress(directory: Path, progress: Progress) -> None:
    """Writes one line in one write, so that a reader never sees a part of it followed by another line.

    A metric that is NaN or infinite is written as null.
    """
    with (directory / PROGRESS).open("ab", buffering=0) as stream:
        stream.write(json.dumps(progress.model_dump(mode="json"), allow_nan=False).encode() + b"\n")


def write_result(directory: Path, result: Result) -> None:
    """Writes the result whole: readers see all of it or nothing."""
    write_json(directory / RESULT, result.model_dump(mode="json"))


def has_result(directory: Path) -> bool:
    """Tells whether a valid result is there."""
    try:
        Result.model_validate_json((directory / RESULT).read_bytes())
    except (FileNotFoundError, ValidationError):
        return False
    return True
