"""Walks through a zip or tar of photos, `<subject>/<files>`, without unpacking it to the disk.

Folders around the subjects' folders are stripped. Nothing of an archive is written, so its names can lead
nowhere; still one that tries is refused, and so is a damaged one, before anything is enrolled.
"""

from __future__ import annotations

import errno
import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from service.bulk.lists import MANIFEST
from service.bulk.names import is_other
from service.bulk.types import MAX_PHOTO_BYTES, BulkPhoto, PhotoTooLarge, Rejection, SourceCount, SourceError
from service.retraining.archive import BLOCK_BYTES, NOT_WHOLE, ArchiveError, ArchiveLimits, safe_path
from service.retraining.unpack import (
    BROKEN,
    check_tar_entry,
    check_zip_entry,
    plain_stream,
    tar_content,
    tar_entries,
    zip_entries,
)

LIMITS = ArchiveLimits()
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file of an archive. `open`: its content, only valid until the next entry is asked for."""

    path: PurePosixPath
    size: int
    open: Callable[[], IO[bytes]]


class ArchiveSource:
    """Photos in the order of the archive's entries."""

    def __init__(self, path: Path) -> None:
        self._path, self._around = path, 0

    def count(self) -> SourceCount:
        """Reads the names, and all of a compressed tar. Raises SourceError for a damaged archive."""
        entries = skipped = 0
        shared: tuple[str, ...] | None = None
        depths = dict[int, int]()
        with self._errors():
            for entry in self._entries():
                if is_other(entry.path.name, folder=False):
                    if entry.path.name.lower() == MANIFEST:
                        raise SourceError(f"unpack the archive, and give its {MANIFEST} instead")
                    skipped += 1
                    continue
                entries += 1
                folders = entry.path.parent.parts
                shared = folders if shared is None else _shared(shared, folders)
                depths[len(folders)] = depths.get(len(folders), 0) + 1
        # Most photos must keep a subject's folder.
        around = 0
        while around < len(shared or ()):
            deep = sum(number for depth, number in depths.items() if depth > around + 1)
            if 2 * deep < entries:
                break
            around += 1
        self._around = around
        return SourceCount(entries, depths.get(around + 1, 0), skipped)

    def __iter__(self) -> Iterator[BulkPhoto | Rejection]:
        with self._errors():
            for entry in self._entries():
                if not is_other(entry.path.name, folder=False):
                    yield self._photo(entry)

    def _photo(self, entry: _Entry) -> BulkPhoto | Rejection:
        parts = entry.path.parts[self._around :]
        name = "/".join(parts)
        if len(parts) == 1:
            return Rejection(name, "no_subject", "photos lie in a folder for each subject")
        if len(parts) > 2:
            return Rejection(name, "nested_folder", "photos lie directly in the subject's folder")
        return BulkPhoto(name=name, subject_id=parts[0], read=lambda: _content(entry))

    def _entries(self) -> Iterator[_Entry]:
        """Raises ArchiveError, and what the unpackers raise."""
        with self._path.open("rb") as stream:
            magic = stream.read(8)
            stream.seek(0)
            if magic.startswith(ZIP_MAGIC):
                yield from _zipped(stream)
            else:
                with plain_stream(stream, magic) as plain:
                    yield from _tarred(plain)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        name = self._path.name
        try:
            yield
        except ArchiveError as error:
            raise SourceError(f"{name}: {error}") from error
        except SourceError:
            raise
        except BROKEN as error:
            raise SourceError(f"{name}: {NOT_WHOLE}") from error
        except OSError as error:
            if error.errno in (None, errno.EINVAL):
                raise SourceError(f"{name}: {NOT_WHOLE}") from error
            raise SourceError(f"{name} cannot be read: {error.strerror}") from error
        except (RuntimeError, NotImplementedError) as error:
            raise SourceError(f"{name}: it is encrypted, or packed in a way that is not read here") from error


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """The first parts that two folders have in common."""
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    return one[:same]


def _content(entry: _Entry) -> bytes:
    """The bytes of an entry, whatever it claims. Raises PhotoTooLarge, OSError if it is damaged."""
    if entry.size > MAX_PHOTO_BYTES:
        raise PhotoTooLarge
    data = bytearray()
    try:
        with entry.open() as source:
            while len(data) <= entry.size and (block := source.read(BLOCK_BYTES)):
                data += block
    except BROKEN as error:
        raise OSError(errno.EIO, "the entry is damaged") from error
    if len(data) != entry.size:
        raise OSError(errno.EIO, "the entry is damaged")
    return bytes(data)


def _zipped(stream: IO[bytes]) -> Iterator[_Entry]:
    for packed, entry in zip_entries(stream, LIMITS):
        path = safe_path(entry.filename)
        if entry.is_dir() or path is None:
            continue
        check_zip_entry(entry)
        yield _Entry(path, entry.file_size, partial(packed.open, entry))


def _tarred(stream: gzip.GzipFile | IO[bytes]) -> Iterator[_Entry]:
    for packed, entry in tar_entries(stream):
        path = safe_path(entry.name)
        if entry.isdir() or path is None:
            continue
        check_tar_entry(entry)
        yield _Entry(path, entry.size, partial(tar_content, packed, entry))
