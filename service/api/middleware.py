"""Wraps every request in two ASGI layers: a limit on its body, and a log line without identities."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import structlog

from service.errors import BodyTooLarge
from service.telemetry import Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = structlog.get_logger("halflight.access")

# The service reads a little more from a client that sends too much, so that the client sees the
# response instead of a reset connection.
DRAIN_BYTES = 16 << 20


class BodyLimit:
    """Raises BodyTooLarge inside the request as soon as its body passes the limit.

    `larger`: limits in bytes of paths that take more.
    """

    def __init__(self, app: App, *, max_bytes: int, larger: Mapping[str, int]) -> None:
        self._app, self._max_bytes, self._larger = app, max_bytes, larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = 0
        limit = self._larger.get(scope["path"], self._max_bytes)
        over = BodyTooLarge(f"a request may have {limit} bytes at most")

        async def drain() -> None:
            left = DRAIN_BYTES
            while left > 0:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    if message.get("more_body", False):
                        await drain()
                    raise over
            return message

        declared = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
        if declared.isdigit() and int(declared) > limit:

            async def refuse() -> Message:
                await drain()
                raise over

            await self._app(scope, refuse, send)
            return
        await self._app(scope, limited, send)


class AccessLog:
    """Counts, times and logs each request by its route template, since its path may hold a subject id."""

    def __init__(self, app: App, *, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, request_id = time.perf_counter(), 500, uuid.uuid4().hex

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, watched)
            finally:
                seconds = time.perf_counter() - started
                route = getattr(scope.get("route"), "path", "(none)")
                method = scope["method"]
                self._metrics.requests.labels(route, method, str(status)).inc()
                self._metrics.latency.labels(route).observe(seconds)
                log.info("request", route=route, method=method, status=status, ms=round(seconds * 1e3, 1))
