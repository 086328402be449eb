"""Receives an archive into a file without a name: it is sealed, and gone with the process that reads it."""

from __future__ import annotations

import asyncio
import errno
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from service.errors import StorageFull

BLOCK_BYTES = 4 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)


@asynccontextmanager
async def spooled(chunks: AsyncIterator[bytes], directory: Path, reserve_bytes: int) -> AsyncIterator[Path]:
    """A path that this process can open, of a file with these bytes, as long as the context lasts.

    `reserve_bytes`: what the disk must have left. Raises StorageFull, OSError, and what `chunks` raises.
    """
    with await asyncio.to_thread(lambda: tempfile.TemporaryFile(dir=directory)) as file:
        waiting = bytearray()

        def write() -> None:
            if shutil.disk_usage(directory).free - len(waiting) < reserve_bytes:
                raise StorageFull("the archive does not fit on the disk of the service beside its reserve")
            file.write(waiting)
            waiting.clear()

        try:
            async for chunk in chunks:
                waiting += chunk
                if len(waiting) >= BLOCK_BYTES:
                    await asyncio.to_thread(write)
            await asyncio.to_thread(write)
            await asyncio.to_thread(file.flush)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise StorageFull("the disk of the service holds no more") from error
        yield Path(f"/proc/self/fd/{file.fileno()}")
