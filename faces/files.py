"""Files that are there whole or not at all, whatever happens to the machine meanwhile."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def write_whole(path: Path, data: bytes) -> None:
    """Write beside, flush to the disk, rename: readers see the old file or the new one."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def write_array(path: Path, array: NDArray[np.generic]) -> None:
    """As .npy, whose bytes depend on the array alone; whole, as `write_whole` does."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    write_whole(path, buffer.getvalue())
