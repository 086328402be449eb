"""Accepts connections for one of several workers that share a listener, each its fair part.

The kernel wakes whichever worker waited last, so an idle service would give every connection to one worker. A
worker that has more than another lets that one go first.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Callable, MutableSequence
from contextlib import suppress

# In the count of a worker that accepts nothing.
ABSENT = 1 << 30
LOOK_S = 0.02
# So often a connection may be seen waiting before this worker takes it all the same: the other one is busy.
PATIENCE = 3
# After an error of accept, such as too many open files.
PAUSE_S = 0.2


class Acceptor:
    """`counts`: the connections of every worker, in memory that all share."""

    def __init__(self, listener: socket.socket, counts: MutableSequence[int], worker: int) -> None:
        self._listener, self._counts, self._worker = listener, counts, worker
        listener.setblocking(False)
        self._waiting = select.poll()
        self._waiting.register(listener, select.POLLIN)

    def count(self, connections: int) -> None:
        """Says how many connections this worker has."""
        self._counts[self._worker] = connections

    async def run(self, make: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None) -> None:
        """Accepts until it is cancelled."""
        loop = asyncio.get_running_loop()
        greeting: set[asyncio.Task[None]] = set()
        self.count(0)
        try:
            while True:
                await self._turn()
                try:
                    connection, _ = await loop.sock_accept(self._listener)
                except OSError:
                    await asyncio.sleep(PAUSE_S)
                    continue
                # A TLS handshake must not keep others waiting.
                task = asyncio.create_task(_serve(connection, make, tls))
                greeting.add(task)
                task.add_done_callback(greeting.discard)
                await asyncio.sleep(0)
        finally:
            self.count(ABSENT)

    async def _turn(self) -> None:
        seen = 0
        while self._counts[self._worker] > min(self._counts) and seen < PATIENCE:
            await asyncio.sleep(LOOK_S)
            seen = seen + 1 if self._waiting.poll(0) else 0


async def _serve(
    connection: socket.socket, make: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None
) -> None:
    # A client that goes away during the handshake is no error of ours.
    with suppress(OSError):
        await asyncio.get_running_loop().connect_accepted_socket(make, connection, ssl=tls)
