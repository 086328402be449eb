"""Keeps the float32 rows of a block, of which a search reads few: in memory, or sealed in a file.

A sealed row (AES-128-GCM) has a key of its own, which lies in memory alone and is used once. A row whose key
is overwritten opens for nobody, this process among them, whatever becomes of the bytes in the file.
"""

from __future__ import annotations

import errno
import os
import tempfile
import weakref
from pathlib import Path
from typing import Protocol

import numpy as np
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from service.errors import NotReady

Floats = NDArray[np.float32]
Places = NDArray[np.intp]
Keys = NDArray[np.uint8]
KEY_BYTES, TAG_BYTES = 16, 16
# Each key seals one row, once.
NONCE = bytes(12)
WRITTEN_AT_ONCE = 512
ROWS_SUFFIX = ".rows"
# Whatever is written to it or read from it is an error.
NO_FILE = -1

log = structlog.get_logger("halflight.gallery")


class RowsLost(NotReady):
    """Rows that a search needs cannot be read. The gallery has to be filled from the database again."""

    def __init__(self) -> None:
        super().__init__("the gallery cannot read its rows and is filled anew", retry_after_s=5)


class Rows(Protocol):
    """`size` rows of one block, float32 [size, d], by their places in it."""

    def write(self, start: int, rows: Floats) -> None:
        """Keeps `rows`, float32 [n, d], as the rows from `start` on."""

    def read(self, places: Places) -> Floats:
        """Copies of rows, float32 [n, d]. Raises RowsLost."""

    def wipe(self, places: Places | slice) -> None:
        """Makes rows unreadable for good."""


class RowsInMemory:
    """Keeps rows as they are, 4 bytes for each number."""

    def __init__(self, size: int, dimension: int) -> None:
        self._rows: Floats = np.zeros((size, dimension), np.float32)

    def write(self, start: int, rows: Floats) -> None:
        self._rows[start : start + len(rows)] = rows

    def read(self, places: Places) -> Floats:
        return self._rows[places]

    def wipe(self, places: Places | slice) -> None:
        self._rows[places] = 0.0


class SealedRows:
    """Keeps rows in a file without a name in `directory`, which ends with the process unless it gets one.

    Rows that the disk does not take stay in memory, sealed as well, and the log says so.
    """

    def __init__(self, size: int, dimension: int, directory: Path) -> None:
        self._dimension, self._length = dimension, 4 * dimension + TAG_BYTES
        self._keys: Keys = np.zeros((size, KEY_BYTES), np.uint8)
        self._kept: dict[int, bytes] = {}
        self._descriptor = NO_FILE
        self.named: str | None = None
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._hold(_nameless(directory))
        except OSError as error:
            _say_kept(error)

    @classmethod
    def found(cls, path: Path, size: int, dimension: int) -> SealedRows:
        """Rows in a file that an earlier process named, still without their keys. Raises OSError."""
        rows = cls.__new__(cls)
        rows._dimension, rows._length = dimension, 4 * dimension + TAG_BYTES
        rows._keys, rows._kept = np.zeros((size, KEY_BYTES), np.uint8), {}
        rows.named = path.name
        rows._hold(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        return rows

    def _hold(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def name(self, directory: Path) -> str:
        """The name of the file in `directory`, where it gets one if it has none, and outlives the process.

        Raises OSError, also if some rows stayed in memory or the file system has no files without a name.
        """
        if self._kept:
            raise OSError(errno.ENOSPC, "the disk did not take all rows")
        if self.named is None:
            name = f"{os.urandom(8).hex()}{ROWS_SUFFIX}"
            place = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
            try:
                # With a directory given this is linkat with AT_SYMLINK_FOLLOW: see O_TMPFILE in open(2).
                os.link(f"/proc/self/fd/{self._descriptor}", name, src_dir_fd=place, dst_dir_fd=place)
            finally:
                os.close(place)
            self.named = name
        return self.named

    def give_keys(self, places: Places | slice, keys: Keys) -> None:
        """The keys of rows that lie in the file already."""
        self._keys[places] = keys

    def reaches(self, size: int) -> bool:
        """Whether the file is long enough for so many rows. Raises OSError."""
        return os.fstat(self._descriptor).st_size >= size * self._length

    def sync(self) -> None:
        """Raises OSError."""
        os.fsync(self._descriptor)

    def keys(self, places: Places) -> Keys:
        """Copies of keys, uint8 [n, 16], for a snapshot, which seals them."""
        return self._keys[places]

    def write(self, start: int, rows: Floats) -> None:
        for first in range(0, len(rows), WRITTEN_AT_ONCE):
            self._write(start + first, rows[first : first + WRITTEN_AT_ONCE])

    def _write(self, start: int, rows: Floats) -> None:
        keys = os.urandom(len(rows) * KEY_BYTES)
        self._keys[start : start + len(rows)] = np.frombuffer(keys, np.uint8).reshape(-1, KEY_BYTES)
        # Whole rows one after the other, whatever the layout in memory.
        plain = np.ascontiguousarray(rows, "<f4")
        sealed = [
            AESGCM(keys[i * KEY_BYTES : (i + 1) * KEY_BYTES]).encrypt(NONCE, plain[i].tobytes(), None)
            for i in range(len(rows))
        ]
        try:
            _write_at(self._descriptor, b"".join(sealed), start * self._length)
        except OSError as error:
            if not self._kept and self._descriptor != NO_FILE:
                _say_kept(error)
            self._kept.update(enumerate(sealed, start))
        else:
            for place in range(start, start + len(rows)) if self._kept else ():
                self._kept.pop(place, None)

    def read(self, places: Places) -> Floats:
        try:
            opened = [self._open(place) for place in places.tolist()]
        except (InvalidTag, OSError) as error:
            raise RowsLost from error
        rows = np.frombuffer(b"".join(opened), "<f4").reshape(len(places), self._dimension)
        return rows.astype(np.float32, copy=False)

    def _open(self, place: int) -> bytes:
        sealed = self._kept.get(place) or os.pread(self._descriptor, self._length, place * self._length)
        return AESGCM(self._keys[place].tobytes()).decrypt(NONCE, sealed, None)

    def wipe(self, places: Places | slice) -> None:
        self._keys[places] = 0
        if self._kept:
            of = range(len(self._keys))[places] if isinstance(places, slice) else places.tolist()
            for place in of:
                self._kept.pop(place, None)


def _nameless(directory: Path) -> int:
    """A file without a name that may get one, where the file system has such. Raises OSError."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    with tempfile.TemporaryFile(dir=directory) as file:
        return os.dup(file.fileno())


def _say_kept(error: OSError) -> None:
    log.error("the disk takes no rows of the gallery: they stay in memory", cause=error.strerror)


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Writes all of `data`. Raises OSError."""
    left = memoryview(data)
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written
