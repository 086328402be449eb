"""The two requests that Frigate's HTTP API gets: a snapshot of a tracked person, and whose it is.

After https://docs.frigate.video/integrations/api: `GET /api/events/<id>/snapshot.jpg`, whose parameters hold
while the person is tracked, and `POST /api/events/<id>/sub_label`.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import httpx

from service.cli.output import Failure

TIMEOUT_S = 10.0
MAX_BYTES = 16 << 20
MAX_LABEL = 100
TRIES, FIRST_WAIT_S = 4, 0.5


class FrigateError(Exception):
    """Frigate did not do what it was asked for; the text says why."""


class FrigateApi:
    """Connects to one address, follows no redirect and no proxy, and puts nothing but an event's id into a
    path. Raises Failure for what is no address."""

    def __init__(self, url: str) -> None:
        try:
            base = httpx.URL(url.rstrip("/"))
        except httpx.InvalidURL as error:
            raise Failure(f"{url} is no address", detail=str(error), exit_code=2) from error
        if base.scheme not in ("http", "https") or not base.host or base.query or base.fragment:
            raise Failure(f"{url} is no address of Frigate", hint="write http://HOST:5000", exit_code=2)
        if base.userinfo:
            raise Failure("the address of Frigate has no user and no password", exit_code=2)
        self._http = httpx.AsyncClient(
            base_url=base, timeout=TIMEOUT_S, trust_env=False, follow_redirects=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def snapshot(self, event_id: str) -> bytes | None:
        """The best picture so far, cut to the person, nothing drawn on it; None if there is none yet.

        Raises FrigateError.
        """
        asked = {"crop": 1, "bbox": 0, "timestamp": 0, "quality": 95}
        try:
            async with self._http.stream(
                "GET", f"/api/events/{event_id}/snapshot.jpg", params=asked
            ) as answer:
                if answer.status_code == httpx.codes.NOT_FOUND:
                    return None
                if not answer.is_success:
                    raise FrigateError(f"status {answer.status_code} for a snapshot")
                found = bytearray()
                async for chunk in answer.aiter_bytes():
                    found += chunk
                    if len(found) > MAX_BYTES:
                        raise FrigateError("a snapshot of more than 16 MiB")
                return bytes(found) or None
        except httpx.HTTPError as error:
            raise FrigateError(type(error).__name__) from error

    async def set_sub_label(self, event_id: str, label: str, share: float) -> None:
        """Says whose event it is. `share`: in (0, 1], which Frigate shows as a score. Raises FrigateError.

        A few tries, since Frigate stores an event a moment after it has told of it.
        """
        body = {"subLabel": label[:MAX_LABEL], "subLabelScore": round(share, 2)}
        for number in range(TRIES):
            try:
                answer = await self._http.post(f"/api/events/{event_id}/sub_label", json=body)
            except httpx.HTTPError as error:
                why = type(error).__name__
            else:
                if answer.is_success:
                    return
                why = f"status {answer.status_code}"
                if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
                    break
            if number < TRIES - 1:
                await asyncio.sleep(FIRST_WAIT_S * 2**number)
        raise FrigateError(f"{why} for a sub label")
