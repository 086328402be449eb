"""Limits the requests in flight and the rate of each key."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from service.errors import Overloaded, RateLimited
from service.workers.buckets import Bucket

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


class Buckets(Protocol):
    """Where the buckets of callers are kept."""

    def held(self, caller: str) -> AbstractContextManager[Bucket]:
        """The bucket of a caller, to change while the context is open; a full one if it is new."""


class OwnBuckets:
    """The buckets of this process alone, of the `MAX_BUCKETS` callers who asked last."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    @contextmanager
    def held(self, caller: str) -> Iterator[Bucket]:
        bucket = self._buckets.pop(caller, None) or Bucket()
        self._buckets[caller] = bucket
        while len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        yield bucket


class RateLimiter:
    """Token bucket for each caller: `rate_per_s` on average, `burst` at once. A rate of 0 sets no limit.

    `buckets`: where they are kept; without any in this process. `clock`: seconds, the same for all who share
    them.
    """

    def __init__(
        self,
        *,
        rate_per_s: float,
        burst: int,
        clock: Callable[[], float] = time.monotonic,
        why: str = "this key asks too often",
        buckets: Buckets | None = None,
    ) -> None:
        self._rate, self._burst, self._clock, self._why = rate_per_s, burst, clock, why
        self._buckets = buckets or OwnBuckets()

    def take(self, caller: str) -> None:
        """Takes a token. Raises RateLimited, with the seconds until the next token, if there is none."""
        if self._rate <= 0:
            return
        with self._buckets.held(caller) as bucket:
            now = self._clock()
            tokens = min(self._burst, bucket.tokens + (now - bucket.at_s) * self._rate)
            bucket.tokens, bucket.at_s = tokens if tokens < 1 else tokens - 1, now
        if tokens < 1:
            raise self._refusal(tokens)

    def _refusal(self, tokens: float) -> RateLimited:
        wait_s = math.ceil((1 - tokens) / self._rate)
        return RateLimited(self._why, retry_after_s=max(1, wait_s))
