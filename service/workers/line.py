"""The line between a worker and its supervisor, as the worker holds it.

Both ends are processes of one start, joined by a socket pair that nobody else has: what comes over it was
pickled by the same code.
"""

from __future__ import annotations

import asyncio
import itertools
import pickle
import socket
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

# Sent in one piece; the kernel keeps their borders (SOCK_SEQPACKET).
PIECE_BYTES = 128 * 1024
ASK_S = 2.0
Kind = Literal["ready", "event", "note", "ask", "answer"]


@dataclass(frozen=True, slots=True)
class Message:
    """`worker`: of an event, a note and an answer who sent it, of a question who asks. `number`: of a
    question; the supervisor gives an event its place. `body`: the rest, opaque to the supervisor."""

    kind: Kind
    worker: int
    number: int
    body: bytes = b""

    def packed(self) -> bytes:
        """Raises ValueError if the message is too long for one piece."""
        data = zlib.compress(pickle.dumps((self.kind, self.worker, self.number, self.body)), 1)
        if len(data) > PIECE_BYTES:
            raise ValueError(f"a message of {len(data)} bytes is too long")
        return data

    @classmethod
    def unpacked(cls, data: bytes) -> Message:
        return cls(*pickle.loads(zlib.decompress(data)))  # noqa: S301 - see above


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a line: the supervisor's and the worker's."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * PIECE_BYTES)
    return ends


@dataclass(slots=True, eq=False)
class _Asked:
    answers: dict[int, bytes] = field(default_factory=dict)
    all_there: asyncio.Event = field(default_factory=asyncio.Event)


class Line:
    """The worker's end. Belongs to one event loop from `start` on."""

    def __init__(self, end: socket.socket, *, worker: int, workers: int, run: str) -> None:
        self.worker, self.workers, self.run = worker, workers, run
        self._end = end
        self._waiting: deque[bytes] = deque()
        self._more = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._asked: dict[int, _Asked] = {}
        self._numbers = itertools.count(1)

    def start(
        self,
        *,
        on_event: Callable[[int, Any], None],
        on_note: Callable[[Any], None],
        on_ask: Callable[[], Awaitable[bytes]],
        on_end: Callable[[], None],
    ) -> None:
        """`on_event`: gets each event of every worker, in one order for all. `on_note`: gets the notes of the
        others. `on_ask`: what this worker answers to the others. `on_end`: the supervisor is gone."""
        self._tasks = [
            asyncio.create_task(self._receive(on_event, on_note, on_ask, on_end), name="line in"),
            asyncio.create_task(self._send(), name="line out"),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def ready(self, text: str) -> None:
        """Tells the supervisor that this worker serves. `text`: what it serves."""
        self._put(Message("ready", self.worker, 0, text.encode()))

    def share(self, event: object) -> None:
        """Sends an event to every worker, this one among them."""
        self._put(Message("event", self.worker, 0, pickle.dumps(event)))

    def note(self, note: object) -> None:
        """Sends a note to the other workers that are there now; nobody keeps it for a later one."""
        self._put(Message("note", self.worker, 0, pickle.dumps(note)))

    async def ask(self) -> Mapping[int, bytes]:
        """What the other workers answer within `ASK_S`, by their numbers."""
        number, asked = next(self._numbers), _Asked()
        self._asked[number] = asked
        self._put(Message("ask", self.worker, number))
        with suppress(TimeoutError):
            await asyncio.wait_for(asked.all_there.wait(), ASK_S)
        del self._asked[number]
        return asked.answers

    def _put(self, message: Message) -> None:
        self._waiting.append(message.packed())
        self._more.set()

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                await loop.sock_sendall(self._end, self._waiting.popleft())

    async def _receive(
        self,
        on_event: Callable[[int, Any], None],
        on_note: Callable[[Any], None],
        on_ask: Callable[[], Awaitable[bytes]],
        on_end: Callable[[], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        answering: set[asyncio.Task[None]] = set()
        while True:
            try:
                data = await loop.sock_recv(self._end, 2 * PIECE_BYTES)
            except ConnectionError:
                data = b""
            if not data:
                on_end()
                return
            message = Message.unpacked(data)
            if message.kind == "event":
                on_event(message.number, pickle.loads(message.body))  # noqa: S301 - see above
            elif message.kind == "note":
                on_note(pickle.loads(message.body))  # noqa: S301 - see above
            elif message.kind == "ask":
                task = asyncio.create_task(self._answer(message, on_ask))
                answering.add(task)
                task.add_done_callback(answering.discard)
            elif message.kind == "answer" and message.number in self._asked:
                worker, body = pickle.loads(message.body)  # noqa: S301 - see above
                asked = self._asked[message.number]
                asked.answers[worker] = body
                if len(asked.answers) == self.workers - 1:
                    asked.all_there.set()

    async def _answer(self, asked: Message, on_ask: Callable[[], Awaitable[bytes]]) -> None:
        body = pickle.dumps((self.worker, await on_ask()))
        self._put(Message("answer", asked.worker, asked.number, body))
