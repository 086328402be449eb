"""Sends what is written as it comes, through a queue of few chunks, and stops a writer whom nobody reads.

The writer reads one snapshot of the database for as long as it writes. A client that takes no more would
hold that snapshot open, and with it the journal that an erasure empties.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

CHUNK_BYTES = 256 << 10
CHUNKS = 4
# How long a client may take for a chunk.
STALL_S = 30.0


class ClientStalled(ConnectionError):
    """The client took nothing for `STALL_S`."""


@dataclass(slots=True)
class Waiting:
    """A file whose bytes wait until they are taken. A zip can be written to it too."""

    waiting: bytearray = field(default_factory=bytearray)

    def write(self, data: bytes) -> int:
        self.waiting += data
        return len(data)

    def flush(self) -> None:
        """Nothing lies behind this."""

    def take(self) -> bytes:
        taken = bytes(self.waiting)
        self.waiting.clear()
        return taken


async def sent(
    sink: Waiting, steps: AsyncGenerator[object], *, stall_s: float = STALL_S
) -> AsyncGenerator[bytes]:
    """The bytes that `steps` write to `sink`, a chunk at a time.

    Raises what the steps raise, after which the bytes end early, and ClientStalled.
    """
    queue: asyncio.Queue[bytes] = asyncio.Queue(CHUNKS)

    async def put(chunk: bytes) -> None:
        try:
            async with asyncio.timeout(stall_s):
                await queue.put(chunk)
        except TimeoutError:
            raise ClientStalled("the client takes nothing any more") from None

    async def write() -> None:
        # Closed at once when the client is gone: it holds the snapshot.
        async with aclosing(steps):
            async for _ in steps:
                if len(sink.waiting) >= CHUNK_BYTES:
                    await put(sink.take())
        if sink.waiting:
            await put(sink.take())

    writer = asyncio.create_task(write(), name="outflow")
    try:
        while True:
            reader = asyncio.create_task(queue.get())
            try:
                await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not reader.done():
                    reader.cancel()
            if reader.done() and not reader.cancelled():
                yield reader.result()
                continue
            while not queue.empty():
                yield queue.get_nowait()
            await writer
            return
    finally:
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
