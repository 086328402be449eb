"""Reads a secret key of 32 bytes from a file, which the first reader makes."""

from __future__ import annotations

import os
from pathlib import Path

from service.sealing.files import write_private
from service.sealing.keys import KEY_BYTES, key_from_hex


class KeyFileError(ValueError):
    """The key is malformed, or its file cannot be read or created. The text quotes no part of it."""


def parse_key(text: str, what: str) -> bytes:
    """Returns the bytes of 64 hexadecimal digits. Raises KeyFileError, which names `what` it is."""
    try:
        return key_from_hex(text)
    except ValueError as error:
        raise KeyFileError(f"{what} is 64 hexadecimal digits") from error


def read_or_create_key(path: Path, what: str) -> bytes:
    """Returns the key in a file; makes a random one, readable by its owner alone, if there is no file.

    Raises KeyFileError.
    """
    try:
        if not path.exists():
            write_private(path, os.urandom(KEY_BYTES).hex() + "\n", first=True)
        return parse_key(path.read_text(encoding="ascii"), what)
    except UnicodeError as error:
        raise KeyFileError(f"{what} is 64 hexadecimal digits") from error
    except OSError as error:
        raise KeyFileError(f"the file {path.name} cannot be read or made: {error.strerror}") from error
