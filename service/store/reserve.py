"""Keeps a little disk aside, so that a full disk never stops an erasure."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

RESERVE_BYTES = 4 << 20
NAME = "erasure.reserve"


class DiskReserve:
    """A file of `RESERVE_BYTES` beside the database that an erasure may give up. Every method blocks."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME

    def keep(self) -> bool:
        """Makes the file; false if there is no room for it now."""
        try:
            if self._path.exists() and self._path.stat().st_size == RESERVE_BYTES:
                return True
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        except OSError:
            # What was not allocated whole would only take the room of others.
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            return False
        return True

    def give_up_if_full(self) -> None:
        """Frees the reserve if less than its size is left on the disk."""
        with contextlib.suppress(OSError):
            left = os.statvfs(self._path.parent)
            if left.f_bavail * left.f_frsize < RESERVE_BYTES:
                self._path.unlink(missing_ok=True)
