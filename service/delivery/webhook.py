"""Hands events over by signed POST requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from service.delivery.signing import headers
from service.delivery.target import Target, Unreachable
from service.store.outbox import DueEvent

AT_ONCE = 8


class WebhookChannel:
    """Sends to one address. `secret`: signs what is sent; `timeout_s`: of one attempt."""

    def __init__(self, target: Target, secret: bytes, timeout_s: float) -> None:
        self._target, self._secret, self._timeout_s = target, secret, timeout_s
        self._client: httpx.AsyncClient | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        # No proxy and no redirect: both would connect elsewhere than was checked.
        async with httpx.AsyncClient(
            timeout=self._timeout_s,
            limits=httpx.Limits(max_connections=AT_ONCE),
            trust_env=False,
            follow_redirects=False,
        ) as self._client:
            yield

    async def ready(self) -> None:
        """At once: each request is a connection of its own, and says how it went."""

    async def send(self, event: DueEvent) -> str | None:
        assert self._client is not None  # noqa: S101 - sent while it is opened
        try:
            async with asyncio.timeout(self._timeout_s):
                url, host = await self._target.request()
                signed = headers(self._secret, event.event_id, int(time.time()), event.body)
                async with self._client.stream(
                    "POST",
                    url,
                    content=event.body,
                    headers={"host": host, "content-type": "application/json", **signed},
                    extensions={"sni_hostname": httpx.URL(self._target.url).host},
                ) as answer:
                    return None if answer.is_success else f"status {answer.status_code}"
        except Unreachable as error:
            return str(error)
        except (TimeoutError, httpx.HTTPError) as error:
            return type(error).__name__
