"""Receives an archive: from a request to the disk, block by block."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from service.errors import InvalidArchive, StorageFull
from service.retraining.archive import BLOCK_BYTES, FULL, ArchiveError, ArchiveLimits, check_room

ARCHIVE = "archive"


@contextmanager
def refusing() -> Iterator[None]:
    """Raises InvalidArchive for an archive that is damaged, hostile or of no use, StorageFull for a full
    disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StorageFull("the disk of the service holds no more") from error
    except ArchiveError as error:
        raise InvalidArchive(str(error)) from error


async def receive_archive(
    chunks: AsyncIterator[bytes], declared_bytes: int, place: Path, limits: ArchiveLimits
) -> str:
    """Writes the archive to `ARCHIVE` in a new directory `place`; returns its SHA-256.

    `declared_bytes`: the length that the client announced, 0 if none. Raises ArchiveError, DiskFull, OSError.
    """
    await asyncio.to_thread(place.mkdir, parents=True, mode=0o700)
    await asyncio.to_thread(check_room, place, declared_bytes, limits)
    digest, waiting, seen = hashlib.sha256(), bytearray(), 0
    with await asyncio.to_thread((place / ARCHIVE).open, "xb") as out:

        def write() -> None:
            check_room(place, len(waiting), limits)
            digest.update(waiting)
            out.write(waiting)
            waiting.clear()

        async for chunk in chunks:
            seen += len(chunk)
            waiting += chunk
            if len(waiting) >= BLOCK_BYTES:
                await asyncio.to_thread(write)
        await asyncio.to_thread(write)
    if not seen:
        raise ArchiveError("the body is empty: send a zip or tar archive")
    return digest.hexdigest()
