"""Token buckets in memory that several workers share, so that a rate is one rate whichever worker is asked.

A process that is killed leaves no lock behind: its record locks (fcntl(2)) end with it.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from multiprocessing import reduction
from struct import Struct
from typing import Any

# A digest of the caller, its tokens, and when they were counted (CLOCK_MONOTONIC: one clock for all).
RECORD = Struct("=Qdd")
# A caller has one of so many places in its set; where all are taken, who asked longest ago gives way.
WAYS, SETS = 8, 2048


@dataclass(slots=True)
class Bucket:
    """`tokens` at the time `at_s`. That of a new caller has no end of tokens, which `RateLimiter` cuts."""

    tokens: float = math.inf
    at_s: float = 0.0


class SharedBuckets:
    """The buckets of up to `WAYS * SETS` callers, in an anonymous file (memfd_create(2)).

    Goes to another process as an argument of its start. In each process one thread alone may use it: the
    locks keep processes apart, not threads.
    """

    def __init__(self) -> None:
        descriptor = os.memfd_create("halflight-rates", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, SETS * WAYS * RECORD.size)
        # Secret, so that nobody can choose addresses that drive others out of their set.
        self._use(descriptor, secrets.token_bytes(16))

    def _use(self, descriptor: int, key: bytes) -> None:
        self._descriptor, self._key = descriptor, key
        self._map = mmap.mmap(descriptor, SETS * WAYS * RECORD.size)

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self._descriptor), self._key)

    @contextmanager
    def held(self, caller: str) -> Iterator[Bucket]:
        """The bucket of a caller, to change; until the context ends no other process has it."""
        digest = int.from_bytes(blake2b(caller.encode(), digest_size=8, key=self._key).digest(), "little")
        number = digest % SETS
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, number)
        try:
            place, bucket = self._find(number * WAYS * RECORD.size, digest)
            yield bucket
            RECORD.pack_into(self._map, place, digest, bucket.tokens, bucket.at_s)
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, number)

    def close(self) -> None:
        self._map.close()
        os.close(self._descriptor)

    def _find(self, first: int, digest: int) -> tuple[int, Bucket]:
        """Where the caller's record is, or is to be, and what it holds."""
        oldest, oldest_s = first, math.inf
        for place in range(first, first + WAYS * RECORD.size, RECORD.size):
            known, tokens, at_s = RECORD.unpack_from(self._map, place)
            if known == digest:
                return place, Bucket(tokens, at_s)
            # One that was never used is the oldest of all: it is zero throughout.
            if at_s < oldest_s:
                oldest, oldest_s = place, at_s
        return oldest, Bucket()


def _received(given: Any, key: bytes) -> SharedBuckets:
    """The same buckets in a process that was started with them."""
    descriptor = given.detach()
    os.set_inheritable(descriptor, False)
    buckets = SharedBuckets.__new__(SharedBuckets)
    buckets._use(descriptor, key)
    return buckets


@dataclass(frozen=True, slots=True)
class Rates:
    """What the workers of one service count together: requests of a key, failed logins of an address."""

    keys: SharedBuckets
    addresses: SharedBuckets

    @classmethod
    def new(cls) -> Rates:
        return cls(SharedBuckets(), SharedBuckets())
