"""Reads the file of doors, and says in one sentence what is wrong with it."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from faces.strict import strip_prefix
from service.doors.rules import DoorsFile

MAX_BYTES = 1 << 20
# Names of the parts of a discriminated union, which pydantic puts among the keys.
KINDS = frozenset({"http", "wiegand", "osdp", "command", "serial"})

PLAIN = {"extra_forbidden": "there is no such key", "missing": "this key is missing"}


class DoorsError(Exception):
    """The file of doors cannot be used; the text names the key and quotes no value of a secret."""


def read_doors(path: Path) -> DoorsFile:
    """Raises DoorsError if the file cannot be read, is no TOML, or a key of it is wrong."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DoorsError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise DoorsError(f"{path}: the file of doors has {MAX_BYTES} bytes at most")
    try:
        found = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DoorsError(f"{path} is no TOML: {error}") from error
    try:
        return DoorsFile.model_validate(found)
    except ValidationError as error:
        first, *others = error.errors(include_url=False, include_input=False)
        more = f" ({len(others)} more)" if others else ""
        said = PLAIN.get(first["type"]) or strip_prefix(first["msg"])
        raise DoorsError(f"{path}: {_key(first['loc'])}: {said}{more}") from error


def read_secret(beside: Path, name: str) -> str:
    """A secret in a file of one line beside the file of doors. Raises DoorsError, which quotes no content."""
    path = beside.parent / name
    try:
        text = path.read_text("ascii").strip()
    except OSError as error:
        raise DoorsError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DoorsError(f"{path}: a secret is written in ASCII") from error
    if not text or not text.isprintable():
        raise DoorsError(f"{path}: a secret is one line that is not empty")
    return text


def _key(location: tuple[int | str, ...]) -> str:
    """Where in the file: doors.front.rules[1].frames."""
    text = ""
    for number, part in enumerate(location):
        before = location[number - 1] if number else ""
        if part in KINDS and before in ("output", "hand_to"):
            continue
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".") or "the file"
