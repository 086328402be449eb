"""Memory of a photo that a decoding worker shares: anonymous files, bounded by no mount and no name."""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref
from types import TracebackType

import numpy as np
from numpy.typing import NDArray


class SharedMemory:
    """One anonymous file (memfd_create(2)). Raises OSError where the system gives none.

    `size`: its fixed size; without one, the worker gives it the size of what it writes.
    """

    def __init__(self, data: bytes = b"", *, size: int | None = None) -> None:
        self.descriptor = os.memfd_create("halflight-photo", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        # Also when nothing refers to it any more.
        self._close = weakref.finalize(self, os.close, self.descriptor)
        self.size = size
        self._map: mmap.mmap | None = None
        left = memoryview(data)
        while left:
            left = left[os.write(self.descriptor, left) :]
        if size is not None:
            os.ftruncate(self.descriptor, size)
            self._seal()

    def __enter__(self) -> SharedMemory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """What is mapped stays, as long as an array shows it."""
        self._close()
        self._map = None

    def show(self, size: int) -> NDArray[np.uint8]:
        """The first `size` bytes, to read. Raises ValueError if there are fewer."""
        if self._map is None:
            self._seal()
            held = os.fstat(self.descriptor).st_size
            flags = mmap.MAP_SHARED | (mmap.MAP_POPULATE if held == size else 0)
            self._map = mmap.mmap(self.descriptor, held, flags=flags, prot=mmap.PROT_READ)
        return np.frombuffer(self._map, np.uint8, size)

    def _seal(self) -> None:
        # Who shrinks memory that another reads makes the other crash.
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
