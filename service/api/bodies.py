"""Receives request bodies: bounded in bytes, in time and in the memory of all requests together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect

from service.access.limits import MemoryBudget
from service.errors import BodyTooLarge, MalformedRequest, RequestTimeout

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How slowly a body may come: seconds without a byte, and bytes a second after `grace_s`."""

    idle_s: float
    grace_s: float
    bytes_per_s: float

    def deadline_s(self, received: int) -> float:
        """Seconds after the head by which a body with `received` bytes so far has lost its time."""
        return self.grace_s + received / self.bytes_per_s


def declared_length(headers: list[tuple[bytes, bytes]]) -> int:
    """Bytes that Content-Length announces; 0 where it is absent or no number."""
    value = next((value for name, value in headers if name == b"content-length"), b"0")
    return int(value) if value.isdigit() else 0


async def paced(receive: Receive, pace: Pace) -> AsyncIterator[bytes]:
    """Chunks of a body as they come. Raises RequestTimeout, ClientDisconnect."""
    started, received = time.monotonic(), 0
    while True:
        left = started + pace.deadline_s(received) - time.monotonic()
        try:
            async with asyncio.timeout(min(pace.idle_s, left)):
                message = await receive()
        except TimeoutError:
            raise RequestTimeout("the body comes too slowly") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        received += len(chunk)
        if chunk:
            yield chunk
        if not message.get("more_body", False):
            return


def too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"this request may have a body of {limit} bytes at most")


async def receive_body(receive: Receive, pace: Pace, budget: MemoryBudget, *, limit: int) -> bytes:
    """The whole body. What it holds is taken from `budget`: the caller gives len(body) back.

    Raises BodyTooLarge as soon as there are more bytes than `limit`, RequestTimeout, Overloaded, and
    MalformedRequest where the client is gone; then nothing is held.
    """
    chunks: list[bytes] = []
    held = 0
    try:
        async for chunk in paced(receive, pace):
            if held + len(chunk) > limit:
                raise too_large(limit)
            budget.take(len(chunk))
            held += len(chunk)
            chunks.append(chunk)
    except BaseException as error:
        budget.give_back(held)
        if isinstance(error, ClientDisconnect):
            raise MalformedRequest("the body ended early") from error
        raise
    return b"".join(chunks)


def replay(body: bytes, receive: Receive) -> Receive:
    """An ASGI `receive` that gives a body which is there already, then goes on with `receive`."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
