"""Unpacks zip, and tar plain or under gzip, bzip2 or xz, within the limits of `archive`."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from service.retraining.archive import (
    FULL,
    NOT_WHOLE,
    ArchiveError,
    ArchiveLimits,
    ArchiveWriter,
    DiskFull,
    Unpacked,
    safe_path,
)

# A header of a tar is read as a whole; no honest one is nearly as large.
MAX_READ_BYTES = 8 << 20
# An entry of a zip's directory with a long name and every extra field in use.
ZIP_ENTRY_BYTES = 2048
ZIP_END, ZIP64_LOCATOR, ZIP64_END = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"
ZIP_END_BYTES, ZIP_COMMENT_BYTES, ZIP64_LOCATOR_BYTES = 22, 65535, 20
ENCRYPTED = 0x1
NOT_PLAIN = "the archive holds a link or a device: only plain files are taken"
BROKEN = (
    EOFError,
    ValueError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    struct.error,
)


def unpack(archive: Path, target: Path, limits: ArchiveLimits, *, wanted: Callable[[str], bool]) -> Unpacked:
    """Writes the files whose name is `wanted` below `target`, which must be empty. Blocks.

    Raises ArchiveError, DiskFull, OSError; the caller then removes what was written.
    """
    with archive.open("rb") as stream:
        magic = stream.read(8)
        stream.seek(0)
        writer = ArchiveWriter(target, limits, wanted, archive_bytes=archive.stat().st_size)
        try:
            if magic.startswith((b"PK\x03\x04", ZIP_END)):
                _unzip(stream, writer, limits)
            else:
                with plain_stream(stream, magic) as plain:
                    _untar(plain, writer)
        except ArchiveError:
            raise
        except BROKEN as error:
            raise ArchiveError(NOT_WHOLE) from error
        except OSError as error:
            # The unpackers raise it without a number if the data are damaged, and seek to places before the
            # beginning that a damaged directory names.
            if error.errno in (None, errno.EINVAL):
                raise ArchiveError(NOT_WHOLE) from error
            if error.errno in FULL:
                raise DiskFull(*error.args) from error
            raise
        except (RuntimeError, NotImplementedError) as error:
            raise ArchiveError(
                "the archive is encrypted, or packed in a way that is not read here"
            ) from error
    return Unpacked(writer.files, writer.bytes, writer.ignored)


def _unzip(stream: IO[bytes], writer: ArchiveWriter, limits: ArchiveLimits) -> None:
    for packed, entry in zip_entries(stream, limits):
        if entry.is_dir():
            safe_path(entry.filename)
            continue
        check_zip_entry(entry)
        if (path := writer.accept(entry.filename, entry.file_size)) is not None:
            with packed.open(entry) as source:
                writer.write(path, source, entry.file_size)


def zip_entries(
    stream: IO[bytes], limits: ArchiveLimits
) -> Iterator[tuple[zipfile.ZipFile, zipfile.ZipInfo]]:
    """Each entry of a zip, with the archive that opens it. Raises ArchiveError for too large a directory."""
    if _zip_directory_bytes(stream) > 2 * limits.files * ZIP_ENTRY_BYTES:
        raise ArchiveError(f"the archive holds more than {limits.files} files")
    with zipfile.ZipFile(stream) as packed:
        for entry in packed.infolist():
            yield packed, entry


def check_zip_entry(entry: zipfile.ZipInfo) -> None:
    """Raises ArchiveError unless the entry is a plain file in clear."""
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        raise ArchiveError(NOT_PLAIN)
    if entry.flag_bits & ENCRYPTED:
        raise ArchiveError("the archive is encrypted")


def _zip_directory_bytes(stream: IO[bytes]) -> int:
    """The size of the archive's directory, which zipfile reads into memory. Raises ArchiveError."""
    size = stream.seek(0, io.SEEK_END)
    start = max(0, size - ZIP_END_BYTES - ZIP_COMMENT_BYTES - ZIP64_LOCATOR_BYTES)
    stream.seek(start)
    tail = stream.read()
    stream.seek(0)
    end = tail.rfind(ZIP_END)
    if end < 0:
        raise ArchiveError(NOT_WHOLE)
    (claimed,) = struct.unpack_from("<I", tail, end + 12)
    locator = end - ZIP64_LOCATOR_BYTES
    if locator < 0 or not tail.startswith(ZIP64_LOCATOR, locator):
        return int(claimed)
    (offset,) = struct.unpack_from("<Q", tail, locator + 8)
    stream.seek(min(offset, size))
    record = stream.read(56)
    stream.seek(0)
    if not record.startswith(ZIP64_END):
        raise ArchiveError(NOT_WHOLE)
    return int(struct.unpack_from("<Q", record, 40)[0])


def plain_stream(stream: IO[bytes], magic: bytes) -> gzip.GzipFile | IO[bytes]:
    """The stream of the tar itself, decompressed as it is read."""
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=stream)
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(stream)
    if magic.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(stream)
    return stream


class GuardedStream(io.RawIOBase):
    """A stream that refuses large reads: a header may claim any size."""

    def __init__(self, stream: gzip.GzipFile | IO[bytes]) -> None:
        super().__init__()
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= MAX_READ_BYTES:
            raise ArchiveError("the archive has a header that is too large")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def _untar(stream: gzip.GzipFile | IO[bytes], writer: ArchiveWriter) -> None:
    for packed, entry in tar_entries(stream):
        if entry.isdir():
            safe_path(entry.name)
            continue
        check_tar_entry(entry)
        if (path := writer.accept(entry.name, entry.size)) is not None:
            with tar_content(packed, entry) as source:
                writer.write(path, source, entry.size)


def tar_entries(
    stream: gzip.GzipFile | IO[bytes],
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Each entry of a tar, with the archive that opens it until the next one is asked for.

    Raises ArchiveError if it is none.
    """
    try:
        packed = tarfile.TarFile(fileobj=GuardedStream(stream))
    except tarfile.ReadError as error:
        raise ArchiveError("neither a zip nor a tar archive") from error
    with packed:
        while (entry := packed.next()) is not None:
            # This list would grow with the archive.
            packed.members.clear()  # type: ignore[attr-defined]
            yield packed, entry


def check_tar_entry(entry: tarfile.TarInfo) -> None:
    """Raises ArchiveError unless the entry is a plain file."""
    if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or entry.issparse():
        raise ArchiveError(NOT_PLAIN)


def tar_content(packed: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    """The content of an entry that `check_tar_entry` has let pass."""
    source = packed.extractfile(entry)
    assert source is not None  # noqa: S101 - a plain file has content
    return source
