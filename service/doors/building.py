"""Makes the outputs of a file of doors, with their secrets, so that a wrong file stops the start."""

from __future__ import annotations

import re
from pathlib import Path

from service.doors.document import DoorsError, read_doors, read_secret
from service.doors.output_rules import AnyOutput, HttpCall, WiegandOutput
from service.doors.outputs.base import Output
from service.doors.outputs.relay import HttpRelay
from service.doors.outputs.wiegand import Wiegand
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
        return HttpRelay(how, _secret(path, how))
    if isinstance(how, WiegandOutput):
        return Wiegand(how, _secret(path, how.hand_to) if isinstance(how.hand_to, HttpCall) else None)
    try:
        # Few need it, so it is an extra.
        from service.doors.outputs.osdp import Osdp
    except ImportError as error:
        raise DoorsError("kind osdp needs the package libosdp: install halflight[osdp]") from error
    return Osdp(how, None if how.key_file is None else _key(path, how.key_file))


def _secret(path: Path, how: HttpCall) -> str | None:
    return None if how.secret_file is None else read_secret(path, how.secret_file)


def _key(path: Path, name: str) -> bytes:
    """The key of a secure channel. Raises DoorsError, which quotes nothing of it."""
    text = read_secret(path, name)
    if re.fullmatch(r"[0-9A-Fa-f]{32}", text) is None:
        raise DoorsError(f"{name}: the key of a secure channel is 32 hexadecimal digits")
    return bytes.fromhex(text)
