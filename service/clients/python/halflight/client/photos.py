"""Reads photos, however the caller has them."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Protocol, TypeAlias


class Readable(Protocol):
    """A file that is open for reading bytes."""

    def read(self, size: int = -1, /) -> bytes: ...


Photo: TypeAlias = bytes | bytearray | memoryview | str | PathLike[str] | Readable
"""The bytes of an image file, its path, or an open binary file."""


def read_photo(photo: Photo) -> bytes:
    """Returns the bytes of a photo. Raises OSError for a file that cannot be read, TypeError for no photo."""
    if isinstance(photo, (bytes, bytearray, memoryview)):
        return bytes(photo)
    if isinstance(photo, (str, PathLike)):
        return Path(photo).read_bytes()
    if not hasattr(photo, "read"):
        raise TypeError(f"a photo is bytes, a path or an open binary file, not {type(photo).__name__}")
    data = photo.read()
    if not isinstance(data, bytes):
        raise TypeError("open the photo in binary mode")
    return data
