"""Connections that nobody can hold or fill: limits on heads, on time, and on their number.

uvicorn's parser takes heads of any size, waits for them without end, and reads on after a refusal.
"""

from __future__ import annotations

import asyncio
import json
import resource
from asyncio.events import TimerHandle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.settings import Settings

# Descriptors that are no connections: the database, the log, models, data sets, workers.
OTHER_DESCRIPTORS, MOST_CONNECTIONS = 256, 4096
# After an answer to a request whose body still comes, so many bytes and seconds of it are dropped:
# a client that is still sending then sees the answer instead of a reset connection.
LINGER_BYTES, LINGER_S = 128 << 20, 10.0
PROBLEMS = {
    400: ("malformed_request", "The request cannot be parsed"),
    408: ("request_timeout", "The request came too slowly"),
    431: ("headers_too_large", "The head of the request is too large"),
    503: ("overloaded", "Too busy"),
}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one connection, and all of them together, may take."""

    connections: int
    head_bytes: int
    headers: int
    head_s: float

    @classmethod
    def of(cls, settings: Settings) -> ConnectionLimits:
        """As the settings say; without a number, what the descriptor limit of the process leaves."""
        allowed = settings.max_connections
        if allowed == 0:
            soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            allowed = max(16, min(MOST_CONNECTIONS, soft - OTHER_DESCRIPTORS))
        return cls(allowed, settings.max_head_bytes, settings.max_headers, settings.head_timeout_s)


class _HeadTooLarge(Exception):
    """Raised inside the parser to stop it."""


class _LastAnswer:
    """The transport of a request after which the connection ends: not before its body has come.

    Closed at once, the connection is reset by what still comes, and the answer may be lost on its way.
    """

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport, self.close = transport, close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class GuardedProtocol(HttpToolsProtocol):
    """One connection within `limits`. `count`: is told how many there are whenever that changes."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
        count: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits, self._count = limits, count
        # Bytes received while a head is open, and what the parser has made of it so far.
        self._in_head, self._head_bytes, self._parsed_bytes, self._dropped = True, 0, 0, 0
        self._head_timer: TimerHandle | None = None
        self._linger_timer: TimerHandle | None = None
        self._ends_with_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._count is not None:
            self._count(len(self.connections))
        if len(self.connections) > self._limits.connections:
            self._refuse(503)
            return
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_head_timer()
        self._unset_linger_timer()
        super().connection_lost(exc)
        if self._count is not None:
            self._count(len(self.connections))

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        before = self._in_head
        if before:
            self._head_bytes += len(data)
            self._watch_head()
        super().data_received(data)
        if before and self._in_head and self._head_bytes > self._limits.head_bytes:
            self._refuse(431)

    # Callbacks of the parser.
    def on_message_begin(self) -> None:
        self._parsed_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._check_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._check_head(len(name) + len(value) + len(b": \r\n"))

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._unset_head_timer()
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            close = partial(self._close_after_body, self.cycle)
            self.cycle.transport = _LastAnswer(self.transport, close)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        if self.cycle.response_complete:
            self._dropped += len(body)
            if self._dropped > LINGER_BYTES:
                self.transport.abort()
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head, self._dropped = True, 0
        self._unset_linger_timer()
        if self._ends_with_body:
            self.transport.close()
            return
        super().on_message_complete()

    def on_response_complete(self) -> None:
        awaited = self.cycle.waiting_for_100_continue
        super().on_response_complete()
        if awaited:
            # The client has kept its body back for an answer, and has it. Whether a body or another
            # request comes next nobody could tell.
            self.transport.close()
        if self.cycle.more_body and not self.transport.is_closing():
            self._linger()

    def _close_after_body(self, cycle: RequestResponseCycle) -> None:
        if cycle is not self.cycle or not cycle.more_body or self.transport.is_closing():
            self.transport.close()
            return
        self._ends_with_body = True
        self._linger()

    def _linger(self) -> None:
        self._unset_linger_timer()
        self._linger_timer = self.loop.call_later(LINGER_S, self.transport.abort)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - as uvicorn has it
        """What the parser refuses gets an answer like every other refusal."""
        self._refuse(400)

    def _check_head(self, more: int) -> None:
        """Raises what stops the parser where the head is over its limits."""
        self._parsed_bytes += more
        if len(self.headers) > self._limits.headers or self._parsed_bytes > self._limits.head_bytes:
            self._refuse(431)
            raise _HeadTooLarge

    def _watch_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits.head_s, self._refuse, 408)

    def _unset_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _unset_linger_timer(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None

    def _refuse(self, status: int) -> None:
        """Answer without the application, and close; an answer that is being sent is only cut off."""
        if self.transport.is_closing():
            return
        working = self.cycle is not None and not self.cycle.response_complete
        # A broken body is refused in place of its own answer, a broken head behind another's is not.
        if working and (self._in_head or self.cycle.response_started):
            self.transport.close()
            return
        code, title = PROBLEMS[status]
        body = json.dumps(
            {
                "type": f"urn:halflight:error:{code}",
                "title": title,
                "status": status,
                "code": code,
                "detail": title,
            }
        ).encode()
        retry = b"retry-after: 1\r\n" if status == 503 else b""
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: application/problem+json\r\nconnection: close\r\n"
            + b"cache-control: no-store\r\nx-content-type-options: nosniff\r\n"
            + retry
            + b"content-length: %d\r\n\r\n" % len(body)
            + body
        )
        self.transport.close()
