"""One fixed HTTP request: a relay, or a receiver of card numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx

from service.doors.output_rules import HttpCall
from service.doors.outputs.base import OutputFailed


async def call(how: HttpCall, secret: str | None, left_s: float, body: Mapping[str, Any] | None) -> None:
    """Sends one request, once. Raises OutputFailed; then the relay may have had it all the same.

    A connection of its own each time: one that was kept may be dead, and would have to be tried again. No
    proxy and no redirect: both lead elsewhere than the file says.
    """
    headers = {} if how.header is None or secret is None else {how.header: secret}
    try:
        async with (
            asyncio.timeout(min(left_s, how.timeout_ms / 1000)),
            httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=None) as client,  # noqa: S113
            client.stream(how.method, how.url, headers=headers, json=body) as answer,
        ):
            if not answer.is_success:
                raise OutputFailed("output_refused")
    except TimeoutError as error:
        raise OutputFailed("output_too_slow") from error
    except (httpx.HTTPError, OSError) as error:
        raise OutputFailed("output_unreachable") from error


class HttpRelay:
    """A relay that one request opens. `secret`: the value of its header."""

    def __init__(self, how: HttpCall, secret: str | None) -> None:
        self._how, self._secret = how, secret

    async def start(self) -> None:
        """Nothing stays connected."""

    async def stop(self) -> None:
        """Nothing is connected."""

    def state(self) -> str:
        return "ready"

    async def open(self, metadata: Mapping[str, Any], left_s: float) -> None:  # noqa: ARG002 - of no card
        await call(self._how, self._secret, left_s, None)
