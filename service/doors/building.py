"""Makes the outputs of a file of doors, with their secrets, so that a wrong file stops the start."""

from __future__ import annotations

from pathlib import Path

from service.doors.document import DoorsError, read_doors, read_secret
from service.doors.output_rules import AnyOutput, HttpCall
from service.doors.outputs.base import Output
from service.doors.outputs.relay import HttpRelay
from service.doors.rules import DoorsFile


def build(path: Path) -> tuple[DoorsFile, dict[str, Output]]:
    """The doors and the output of each, by name. Raises DoorsError."""
    file = read_doors(path)
    return file, {
        name: _output(path, f"doors.{name}.output", door.output) for name, door in file.doors.items()
    }


def _output(path: Path, key: str, how: AnyOutput) -> Output:
    try:
        return _made(path, how)
    except DoorsError as error:
        raise DoorsError(f"{path}: {key}: {error}") from error


def _made(path: Path, how: AnyOutput) -> Output:
    if isinstance(how, HttpCall):
        return HttpRelay(how, None if how.secret_file is None else read_secret(path, how.secret_file))
    raise DoorsError(f"the kind {how.kind} is not there yet")
