"""Defines the files of a job's directory, as the service writes and reads them.

    request.json     the request; the service writes it before it starts the process
    heartbeat        a runner touches it as long as it holds the job
    progress.jsonl   the process appends lines
    result.json      the process writes it whole, last of all: how the job ended
    log.txt          what the process prints
    private/         what must not outlive the job, whatever its end

A process that ends without a result was interrupted. The service starts it again, and it goes on from
what it kept in the directory.

The process has definitions of its own in `training.jobs.job_files`: the interpreter that trains may be
another installation, so each side checks what the other one wrote. `tests/test_job_files.py` holds the
two against each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from faces.strict import Strict

REQUEST, HEARTBEAT, PROGRESS = "request.json", "heartbeat", "progress.jsonl"
RESULT, LOG, PRIVATE = "result.json", "log.txt", "private"
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


def read_progress(directory: Path, offset: int) -> tuple[list[Progress], int]:
    """Returns the whole lines after byte `offset`, and where the next ones begin; skips invalid lines."""
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
    """Returns None while there is no valid result."""
    try:
        return Result.model_validate_json((directory / RESULT).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
