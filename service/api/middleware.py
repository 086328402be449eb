"""Wraps every request in two ASGI layers: a log line without identities, and the check of the Host."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from service.access.keys import Principal
from service.api.bodies import Message, Receive
from service.api.deps import is_open, refuse_foreign
from service.api.problems import problem_response
from service.audit.refusals import NOBODY, Refusal
from service.errors import Forbidden, RateLimited, ServiceError, Unauthorized
from service.store.errors import StoreError
from service.telemetry import Metrics
from service.tracing import Tracing

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = structlog.get_logger("halflight.access")

# No answer of this service may be kept by a cache, or read as another type than it says.
ANSWER_HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class LocalHost:
    """While access is open, refuses whoever does not ask this machine by its own name, on every path.

    Routes that need a role are refused with their own reasons by `api.deps`; this covers the others.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                if await is_open(scope["app"].state.halflight):
                    refuse_foreign(HTTPConnection(scope))
            except StoreError:
                pass  # Whether a key exists is not known: routes that need one say so themselves.
            except ServiceError as error:
                await problem_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _note_refusal(scope: Scope, status: int, route: str) -> None:
    """Notes for the audit log that access was refused, by whichever layer."""
    principal: Principal | None = scope.get("state", {}).get("principal")
    if status not in (401, 403) and not (status == 429 and principal is None):
        return
    code = {401: Unauthorized.code, 403: Forbidden.code}.get(status, RateLimited.code)
    address = scope["client"][0] if scope.get("client") else ""
    actor = NOBODY if principal is None else principal.key_id
    scope["app"].state.halflight.refusals.note(Refusal(actor, code, address), route)


class AccessLog:
    """Counts, times, traces and logs each request by its route template: its path may hold a subject id."""

    def __init__(self, app: App, *, metrics: Metrics, tracing: Tracing) -> None:
        self._app, self._metrics, self._tracing = app, metrics, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, request_id = time.perf_counter(), 500, uuid.uuid4().hex

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", []))
                named = {name.lower() for name, _ in headers}
                headers += [each for each in ANSWER_HEADERS if each[0] not in named]
                message["headers"] = [*headers, (b"x-request-id", request_id.encode())]
            await send(message)

        with (
            structlog.contextvars.bound_contextvars(request_id=request_id),
            self._tracing.request(scope["path"], Headers(scope=scope)) as span,
        ):
            try:
                await self._app(scope, receive, watched)
            finally:
                seconds = time.perf_counter() - started
                route = getattr(scope.get("route"), "path", "(none)")
                method = scope["method"]
                _note_refusal(scope, status, route)
                self._metrics.requests.labels(route, method, str(status)).inc()
                self._metrics.latency.labels(route).observe(seconds)
                span.answered(method=method, route=route, status=status)
                log.info("request", route=route, method=method, status=status, ms=round(seconds * 1e3, 1))
