"""The requests that Frigate's HTTP API gets: a login, a snapshot of a tracked person, and whose it is.

After https://docs.frigate.video/integrations/api: `GET /api/events/<id>/snapshot.jpg`, whose parameters hold
while the person is tracked, and `POST /api/events/<id>/sub_label`. Port 8971 wants a login before them:
`POST /api/login` sets a cookie with a token that ends some day, after
https://docs.frigate.video/configuration/authentication.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from service.cli.output import Failure

TIMEOUT_S = 10.0
MAX_BYTES = 16 << 20
MAX_LABEL = 100
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
TRIES, FIRST_WAIT_S = 4, 0.5
# Frigate counts failed logins and refuses all of them after a few.
LOGIN_AGAIN_S = 60.0


class FrigateError(Exception):
    """Frigate did not do what it was asked for; the text says why."""


# What stands for a snapshot that Frigate wants a login for.
UNAUTHORIZED = b"\0 a login is wanted"


@dataclass(frozen=True, slots=True)
class Login:
    """A user of Frigate, who may be asked for on port 8971."""

    user: str
    password: str = field(repr=False)


class FrigateApi:
    """Connects to one address, follows no redirect and no proxy, and puts nothing but an event's id into a
    path. Raises Failure for what is no address, and for a password that would go over the network in clear.

    `login`: used whenever Frigate wants one. `ca`: PEM file of the authority of its certificate, or of a
    certificate that it signed itself.
    """

    def __init__(self, url: str, login: Login | None = None, ca: Path | None = None) -> None:
        try:
            base = httpx.URL(url.rstrip("/"))
        except httpx.InvalidURL as error:
            raise Failure(f"{url} is no address", detail=str(error), exit_code=2) from error
        if base.scheme not in ("http", "https") or not base.host or base.query or base.fragment:
            raise Failure(f"{url} is no address of Frigate", hint="write http://HOST:5000", exit_code=2)
        if base.userinfo:
            raise Failure("the address of Frigate has no user and no password", exit_code=2)
        if login is not None and base.scheme == "http" and base.host not in LOOPBACK:
            raise Failure("a login at Frigate needs an address with https://", exit_code=2)
        try:
            verify = ssl.create_default_context(cafile=ca)
        except (OSError, ssl.SSLError) as error:
            raise Failure(f"{ca} is no certificate that can be read", exit_code=2) from error
        self._login, self._refused_at = login, -LOGIN_AGAIN_S
        self._http = httpx.AsyncClient(
            base_url=base, timeout=TIMEOUT_S, trust_env=False, follow_redirects=False, verify=verify
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
        try:
            found = await self._snapshot(event_id)
            if found is UNAUTHORIZED:
                await self._log_in()
                found = await self._snapshot(event_id)
        except httpx.HTTPError as error:
            raise FrigateError(type(error).__name__) from error
        if found is UNAUTHORIZED:
            raise FrigateError("status 401 for a snapshot")
        return found

    async def _snapshot(self, event_id: str) -> bytes | None:
        asked = {"crop": 1, "bbox": 0, "timestamp": 0, "quality": 95}
        path = f"/api/events/{event_id}/snapshot.jpg"
        async with self._http.stream("GET", path, params=asked) as answer:
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                return UNAUTHORIZED
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

    async def _log_in(self) -> None:
        """Gets a new token, which the client keeps as a cookie. Raises FrigateError, httpx.HTTPError."""
        if self._login is None:
            raise FrigateError("it wants a login: name a user, or take its port 5000")
        if time.monotonic() - self._refused_at < LOGIN_AGAIN_S:
            raise FrigateError("the login was refused a moment ago")
        self._http.cookies.clear()
        body = {"user": self._login.user, "password": self._login.password}
        answer = await self._http.post("/api/login", json=body)
        if not answer.is_success or not self._http.cookies:
            self._refused_at = time.monotonic()
            raise FrigateError(f"the login was refused, status {answer.status_code}")

    async def set_sub_label(self, event_id: str, label: str, share: float) -> None:
        """Says whose event it is. `share`: in (0, 1], which Frigate shows as a score. Raises FrigateError.

        A few tries, since Frigate stores an event a moment after it has told of it.
        """
        body = {"subLabel": label[:MAX_LABEL], "subLabelScore": round(share, 2)}
        path = f"/api/events/{event_id}/sub_label"
        for number in range(TRIES):
            try:
                answer = await self._http.post(path, json=body)
                if answer.status_code == httpx.codes.UNAUTHORIZED:
                    await self._log_in()
                    answer = await self._http.post(path, json=body)
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
