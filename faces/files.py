"""Writes files whole or not at all, even if the machine stops meanwhile."""

from __future__ import annotations

import fcntl
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


def write_whole(path: Path, data: bytes) -> None:
    """Writes beside `path`, flushes to the disk and renames: readers see the old file or the new one.

    Processes that write the same file wait for each other; the last one stays. What a killed one has left
    beside it, the next one uses.
    """
    with _alone(path.with_name(path.name + ".partial")) as (stream, partial):
        stream.truncate(0)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
        partial.replace(path)


@contextmanager
def _alone(partial: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Opens a file that nobody else writes meanwhile."""
    while True:
        with partial.open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if _is_open_as(stream, partial):
                yield stream, partial
                return


def _is_open_as(stream: BinaryIO, path: Path) -> bool:
    """Whether a file still has this name: whoever had the lock before may have renamed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


def write_array(path: Path, array: NDArray[np.generic]) -> None:
    """Writes a .npy file, whose bytes depend on the array alone, as `write_whole` does."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    write_whole(path, buffer.getvalue())


def write_json(path: Path, value: Any) -> None:
    """Writes JSON as `write_whole` does. Raises ValueError for a number that JSON does not have."""
    write_whole(path, json.dumps(value, indent=1, allow_nan=False).encode())
