"""Reads a secret key of 32 bytes from a file, which the first reader makes."""

from __future__ import annotations

import binascii
import os
from pathlib import Path

KEY_BYTES = 32


class KeyFileError(ValueError):
    """The key is malformed, or its file cannot be read or created. The text quotes no part of it."""


def parse_key(text: str, what: str) -> bytes:
    """Returns the bytes of 64 hexadecimal digits. Raises KeyFileError, which names `what` it is."""
    try:
        key = bytes.fromhex(text.strip())
    except ValueError as error:
        raise KeyFileError(f"{what} is 64 hexadecimal digits") from error
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"{what} is 64 hexadecimal digits")
    return key


def read_or_create_key(path: Path, what: str) -> bytes:
    """Returns the key in a file; makes a random one, readable by its owner alone, if there is no file.

    Raises KeyFileError.
    """
    try:
        if not path.exists():
            _create_key(path)
        return parse_key(path.read_text(encoding="ascii"), what)
    except UnicodeError as error:
        raise KeyFileError(f"{what} is 64 hexadecimal digits") from error
    except OSError as error:
        raise KeyFileError(f"the file {path.name} cannot be read or made: {error.strerror}") from error


def _create_key(path: Path) -> None:
    """Writes the file atomically and once: replicas that start together end up with one key."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{binascii.hexlify(os.urandom(4)).decode()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(os.urandom(KEY_BYTES).hex() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            return
    finally:
        partial.unlink()
