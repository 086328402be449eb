"""Transports of httpx that note what goes over the wire, and lose answers where a test asks for it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import httpx


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as it went out, and what came. `status`: None if the connection broke."""

    method: str
    path: str
    idempotency_key: str | None
    status: int | None
    retry_after_s: float | None
    begun: float
    ended: float


@dataclass
class Notes:
    """`lose`: how many of the next answers are lost on their way, after the service gave them."""

    sent: list[Sent] = field(default_factory=list)
    lose: int = 0

    def note(self, request: httpx.Request, begun: float, response: httpx.Response | None) -> None:
        asked = None if response is None else response.headers.get("Retry-After")
        one = Sent(
            method=request.method,
            path=request.url.path,
            idempotency_key=request.headers.get("Idempotency-Key"),
            status=None if response is None else response.status_code,
            retry_after_s=None if asked is None else float(asked),
            begun=begun,
            ended=time.monotonic(),
        )
        self.sent.append(one)

    def lost(self) -> bool:
        self.lose -= 1
        return self.lose >= 0

    @property
    def statuses(self) -> list[int | None]:
        return [one.status for one in self.sent]


class Recording(Notes, httpx.HTTPTransport):
    def __init__(self) -> None:
        Notes.__init__(self)
        httpx.HTTPTransport.__init__(self)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        begun = time.monotonic()
        try:
            response = super().handle_request(request)
        except httpx.TransportError:
            self.note(request, begun, None)
            raise
        if self.lost():
            response.read()
            response.close()
            self.note(request, begun, None)
            raise httpx.ReadError("the answer was lost", request=request)
        self.note(request, begun, response)
        return response


class AsyncRecording(Notes, httpx.AsyncHTTPTransport):
    def __init__(self) -> None:
        Notes.__init__(self)
        httpx.AsyncHTTPTransport.__init__(self)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        begun = time.monotonic()
        try:
            response = await super().handle_async_request(request)
        except httpx.TransportError:
            self.note(request, begun, None)
            raise
        if self.lost():
            await response.aread()
            await response.aclose()
            self.note(request, begun, None)
            raise httpx.ReadError("the answer was lost", request=request)
        self.note(request, begun, response)
        return response
