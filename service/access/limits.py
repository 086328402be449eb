"""Limits the requests in flight and the rate of each key."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.errors import Overloaded, RateLimited

MAX_BUCKETS = 10_000


class Admission:
    """Admits up to `limit` requests at a time and refuses any more without waiting.

    `why`: what the refusal says after the number.
    """

    def __init__(self, limit: int, why: str = "requests are in work already; try again") -> None:
        self._limit, self._why, self.in_flight = limit, why, 0

    def check(self) -> None:
        """Raises Overloaded at the limit. Takes no place, so there may be none when one is asked for."""
        if self.in_flight >= self._limit:
            raise Overloaded(f"{self._limit} {self._why}")

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Counts one request while the context is open. Raises Overloaded at the limit."""
        self.check()
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1


class MemoryBudget:
    """Counts the bytes that received bodies hold, over all requests, and refuses the one too many."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit, self.held_bytes = limit_bytes, 0

    def take(self, count: int) -> None:
        """Raises Overloaded instead of waiting; then nothing was taken."""
        if self.held_bytes + count > self._limit:
            raise Overloaded("other uploads fill the memory for bodies; try again")
        self.held_bytes += count

    def give_back(self, count: int) -> None:
        self.held_bytes -= count


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float


class RateLimiter:
    """Token bucket for each caller: `rate_per_s` on average, `burst` at once. A rate of 0 sets no limit."""

    def __init__(
        self,
        *,
        rate_per_s: float,
        burst: int,
        clock: Callable[[], float] = time.monotonic,
        why: str = "this key asks too often",
    ) -> None:
        self._rate, self._burst, self._clock, self._why = rate_per_s, burst, clock, why
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, caller: str) -> None:
        """Takes a token. Raises RateLimited, with the seconds until the next token, if there is none."""
        if self._rate <= 0:
            return
        now = self._clock()
        bucket = self._buckets.pop(caller, None) or _Bucket(float(self._burst), now)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at_s) * self._rate)
        bucket.at_s = now
        self._buckets[caller] = bucket
        while len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        if bucket.tokens < 1:
            raise self._refusal(bucket)
        bucket.tokens -= 1

    def _refusal(self, bucket: _Bucket) -> RateLimited:
        wait_s = math.ceil((1 - bucket.tokens) / self._rate)
        return RateLimited(self._why, retry_after_s=max(1, wait_s))
