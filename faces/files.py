"""Writes files whole or not at all, even if the machine stops meanwhile."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_whole(path: Path, data: bytes) -> None:
    """Writes beside `path`, flushes to the disk and renames: readers see the old file or the new one."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def write_array(path: Path, array: NDArray[np.generic]) -> None:
    """Writes a .npy file, whose bytes depend on the array alone, as `write_whole` does."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    write_whole(path, buffer.getvalue())


def write_json(path: Path, value: Any) -> None:
    """Writes JSON as `write_whole` does. Raises ValueError for a number that JSON does not have."""
    write_whole(path, json.dumps(value, indent=1, allow_nan=False).encode())
