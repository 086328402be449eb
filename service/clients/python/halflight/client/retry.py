"""Decides which requests are sent again, and when: no input, no output."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

import httpx

from halflight.client.errors import is_problem

TOO_MANY, UNAVAILABLE = httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE
GATEWAY = frozenset({httpx.codes.BAD_GATEWAY, UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT})


class Repeat(Enum):
    """When a request may be sent again.

    ALWAYS: it changes nothing, or does so once however often it comes. UNLESS_DONE: only if the service
    certainly did nothing, because it was not reached or said so. NEVER: it would be done twice.
    """

    ALWAYS = "always"
    UNLESS_DONE = "unless done"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How long and how often a request is repeated that the service could not answer.

    `patience_s`: of all tries of one request together. A service that asks to wait for longer than is left
    is not asked again: the error says when to (`retry_after_s`). A wait that the service asked for is
    prolonged by up to the share `jitter`, so that not all clients come back at once. Without such a
    word it doubles from `first_wait_s` to `longest_wait_s`.
    """

    patience_s: float = 30.0
    jitter: float = 0.25
    first_wait_s: float = 0.25
    longest_wait_s: float = 8.0

    def __post_init__(self) -> None:
        if not (self.patience_s >= 0 and self.jitter >= 0 and 0 < self.first_wait_s <= self.longest_wait_s):
            raise ValueError("patience and jitter are not negative, and 0 < first_wait_s <= longest_wait_s")


class Attempts:
    """The tries of one request."""

    def __init__(self, retry: Retry, repeat: Repeat) -> None:
        self._retry, self._repeat = retry, repeat
        self._until = time.monotonic() + retry.patience_s
        self._waits = 0

    def wait_s(self, got: httpx.Response | httpx.TransportError) -> float | None:
        """Returns the seconds after which to try again; None if what came is the last word."""
        if not _may_repeat(self._repeat, got):
            return None
        asked = retry_after_s(got) if isinstance(got, httpx.Response) else None
        if asked is not None:
            wait_s = asked * (1 + random.uniform(0, self._retry.jitter))  # noqa: S311 - no secret
        else:
            longest = min(self._retry.longest_wait_s, self._retry.first_wait_s * 2 ** min(self._waits, 30))
            wait_s = longest * (1 - random.uniform(0, min(1, self._retry.jitter)))  # noqa: S311
        self._waits += 1
        return None if time.monotonic() + wait_s > self._until else wait_s


def _may_repeat(repeat: Repeat, got: httpx.Response | httpx.TransportError) -> bool:
    if repeat is Repeat.NEVER:
        return False
    if isinstance(got, (httpx.ConnectError, httpx.ConnectTimeout)):
        return True
    if isinstance(got, httpx.TransportError):
        # Without an answer in time the service may be at it still: sending more would not help it.
        return repeat is Repeat.ALWAYS and isinstance(got, (httpx.NetworkError, httpx.RemoteProtocolError))
    if got.status_code not in (TOO_MANY, *GATEWAY):
        return False
    if _is_own(got):
        return retry_after_s(got) is not None
    return repeat is Repeat.ALWAYS


def _is_own(response: httpx.Response) -> bool:
    """Whether the service refused this, and not a proxy before it."""
    try:
        return is_problem(response.json())
    except ValueError:
        return False


def retry_after_s(response: httpx.Response) -> float | None:
    """Returns the seconds that `Retry-After` asks for, as a number or as a date (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal() and text.isascii():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at.astimezone(UTC) - datetime.now(UTC)).total_seconds())
