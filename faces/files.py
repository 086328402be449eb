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
    partial = path.with_name(path.name + ".partial")
    with _alone(partial) as stream:
        stream.truncate(0)
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
        partial.replace(path)


@contextmanager
def held(path: Path, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Opens a file, made if there is none, that one process alone holds while the context is open; the others
    wait. `mode`: of a new one, less the umask."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode), "r+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream


@contextmanager
def _alone(partial: Path) -> Iterator[BinaryIO]:
    """As `held`, a file that has the name still when it is held."""
    while True:
        with held(partial) as stream:
            if _is_open_as(stream, partial):
                yield stream
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
