"""Packs photos of many subjects into a tar while it is sent, or reads an archive: never whole in memory."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from halflight.client.photos import Photo, Readable, read_photo

CHUNK_BYTES = 256 << 10
MANIFEST = "manifest.csv"
COLUMNS = ("subject", "path", "display_name", "metadata", "spectrum")

Archive: TypeAlias = str | PathLike[str] | Readable
"""The path of a zip or tar, or an open binary file of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkPhoto:
    """A photo of a bulk enrolment. `spectrum`: if it is not that of the others."""

    subject_id: str
    photo: Photo
    display_name: str | None = None
    metadata: Mapping[str, Any] | None = None
    spectrum: Literal["vis", "nir"] | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """The body of an upload. `size`: in bytes, None if it is known only at the end."""

    chunks: Callable[[], Iterator[bytes]]
    size: int | None = None


def archive_body(archive: Archive) -> Body:
    """Returns a body that reads an archive. Raises OSError if there is none."""
    if isinstance(archive, (str, PathLike)):
        path = Path(archive)
        return Body(lambda: _chunks_of(path), path.stat().st_size)
    stream = archive
    return Body(lambda: _read_on(stream))


def photos_body(photos: Iterable[BulkPhoto]) -> Body:
    """Returns a body that packs photos as they are asked for: the file `photos/N` is the N-th, from 0."""
    return Body(lambda: _packed(photos))


def _chunks_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        yield from _read_on(cast(Readable, stream))


def _read_on(stream: Readable) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


class _Sink(io.RawIOBase):
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held += data
        return len(data)

    def taken(self) -> bytes:
        data = bytes(self._held)
        self._held.clear()
        return data


def _packed(photos: Iterable[BulkPhoto]) -> Iterator[bytes]:
    sink = _Sink()
    with (
        tempfile.SpooledTemporaryFile(max_size=4 << 20) as manifest,
        tarfile.open(fileobj=sink, mode="w|", bufsize=CHUNK_BYTES) as tar,
    ):
        manifest.write(_row(COLUMNS))
        for number, one in enumerate(photos):
            data, path = read_photo(one.photo), f"photos/{number}"
            metadata = "" if one.metadata is None else json.dumps(one.metadata)
            manifest.write(_row((one.subject_id, path, one.display_name or "", metadata, one.spectrum or "")))
            tar.addfile(_entry(path, len(data)), io.BytesIO(data))
            if chunk := sink.taken():
                yield chunk
        size = manifest.tell()
        manifest.seek(0)
        tar.addfile(_entry(MANIFEST, size), manifest)
        yield sink.taken()
    yield sink.taken()


def _entry(path: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.size = size
    return entry


def _row(cells: Iterable[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()
