"""The rules for files from an uploaded archive: where they may go, how many, how large.

The writer makes only plain files below the target: no link, no device, no name that leads out of it,
no more files or bytes than the limits allow. It counts what it writes, not what the archive claims.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

BLOCK_BYTES = 1 << 20
MAX_NAME_CHARACTERS, MAX_PART_BYTES, MAX_DEPTH = 1000, 200, 8
# macOS adds this folder. It is ignored, as are hidden files.
LITTER = "__MACOSX"
NOT_WHOLE = "the archive is cut off or damaged"
FULL = (errno.ENOSPC, errno.EDQUOT)


class ArchiveError(ValueError):
    """The archive is refused. Clients see the text."""


class DiskFull(OSError):
    """The disk is full up to the reserve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """Limits of the unpacked files: their number, bytes of one, bytes of all.

    `ratio`: unpacked bytes for each byte of the archive, of all entries together, those that are left
    out included; photos hardly shrink. Up to `ratio_from_bytes` nobody asks. `reserve_bytes`: what stays
    free on the disk.
    """

    files: int = 500_000
    file_bytes: int = 64 << 20
    bytes: int = 64 << 30
    ratio: float = 20.0
    ratio_from_bytes: int = 64 << 20
    reserve_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Unpacked:
    """Number of unpacked files and their bytes. `ignored`: number of entries that were left out."""

    files: int
    bytes: int
    ignored: int


def check_room(directory: Path, needed_bytes: int, limits: ArchiveLimits) -> None:
    """Raises DiskFull if so many bytes do not fit beside the reserve."""
    if shutil.disk_usage(directory).free < needed_bytes + limits.reserve_bytes:
        raise DiskFull(errno.ENOSPC, "the disk holds no more")


class ArchiveWriter:
    """Writes files below a directory and counts them. `wanted`: whether a file name is taken."""

    def __init__(
        self, target: Path, limits: ArchiveLimits, wanted: Callable[[str], bool], *, archive_bytes: int
    ) -> None:
        self._target, self._limits, self._wanted = target, limits, wanted
        self._most_bytes = max(limits.ratio_from_bytes, int(limits.ratio * archive_bytes))
        self.files = self.bytes = self.ignored = 0
        self._entries = self._passed_bytes = 0

    def accept(self, name: str, size: int) -> PurePosixPath | None:
        """The path of an entry; None if it is ignored. Raises ArchiveError for a path out of the target."""
        self._entries, self._passed_bytes = self._entries + 1, self._passed_bytes + size
        if self._entries > 2 * self._limits.files or self._passed_bytes > 2 * self._limits.bytes:
            raise ArchiveError("the archive holds too much that is no picture")
        if self._passed_bytes > self._most_bytes:
            raise ArchiveError(
                f"unpacked, the archive has more than {self._limits.ratio:g} times its bytes: no photos do"
            )
        path = safe_path(name)
        if path is None or not self._wanted(path.name):
            self.ignored += 1
            return None
        if self.files >= self._limits.files:
            raise ArchiveError(f"the archive holds more than {self._limits.files} files")
        return path

    def write(self, path: PurePosixPath, source: IO[bytes], size: int) -> None:
        """Copies exactly `size` bytes. Raises ArchiveError, DiskFull."""
        if size > self._limits.file_bytes:
            raise ArchiveError(f"a file may have {self._limits.file_bytes} bytes at most")
        if self.bytes + size > self._limits.bytes:
            raise ArchiveError(f"unpacked, the archive has more than {self._limits.bytes} bytes")
        check_room(self._target, size, self._limits)
        place = self._target / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            out = place.open("xb")
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise ArchiveError("two entries of the archive have one name") from error
        left = size
        with out:
            while block := source.read(min(BLOCK_BYTES, left + 1)):
                left -= len(block)
                if left < 0:
                    raise ArchiveError("an entry holds more than it says")
                out.write(block)
        if left:
            raise ArchiveError(NOT_WHOLE)
        self.files, self.bytes = self.files + 1, self.bytes + size


def safe_path(name: str) -> PurePosixPath | None:
    """A path below the root, with either slash; None for hidden entries and litter. Raises ArchiveError."""
    text = name.replace("\\", "/")
    path = PurePosixPath(text)
    if text.startswith("/") or ".." in path.parts or (len(text) > 1 and text[1] == ":"):
        raise ArchiveError("an entry's name leads out of the archive")
    if len(text) > MAX_NAME_CHARACTERS or len(path.parts) > MAX_DEPTH or not text.isprintable():
        raise ArchiveError("an entry's name is too long, too deep or not printable")
    if any(len(part.encode()) > MAX_PART_BYTES for part in path.parts):
        raise ArchiveError("an entry's name is too long")
    if not path.parts or any(part.startswith(".") or part == LITTER for part in path.parts):
        return None
    return path
