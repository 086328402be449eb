"""The latest decisions of this service, in memory, for readers who follow them at their own pace.

A reader has a position and no queue: who reads too slowly loses the oldest decisions, learns how many,
and costs nothing meanwhile.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from service.errors import InvalidParameter
from service.live.decisions import Decision
from service.live.door_events import DoorEvent

LiveEvent = Decision | DoorEvent
PLACE = re.compile(r"(?P<run>[0-9a-f]{12})-(?P<seq>[0-9]{1,15})")


@dataclass(frozen=True, slots=True)
class Placed:
    """An event with its place in the feed, counted from 1."""

    seq: int
    event: LiveEvent


@dataclass(frozen=True, slots=True)
class Page:
    """Decisions after a place, oldest first. `missed`: how many were dropped before them; None: unknown."""

    missed: int | None
    placed: tuple[Placed, ...]


class DecisionFeed:
    """Keeps the last `size` decisions. Belongs to one event loop.

    `share`: of a service of several workers, sends an event to all of them, which `take` it in one order;
    `run`: names their common run.
    """

    def __init__(
        self, size: int, *, run: str | None = None, share: Callable[[LiveEvent], None] | None = None
    ) -> None:
        self._run, self._share = run or secrets.token_hex(6), share
        self._kept: deque[Placed] = deque(maxlen=size)
        self._last = 0
        self._news = asyncio.Event()

    @property
    def size(self) -> int:
        return self._kept.maxlen or 0

    @property
    def last(self) -> int:
        """The place of the newest decision, 0 before the first."""
        return self._last

    def publish(self, *events: LiveEvent) -> None:
        """Adds events and wakes the readers, or has every worker add them."""
        for event in events:
            if self._share is None:
                self.take(self._last + 1, event)
            else:
                self._share(event)

    def take(self, seq: int, event: LiveEvent) -> None:
        """Adds the event of a place and wakes the readers. Those before a gap are forgotten: readers are told
        how many they missed, and `after` counts on places without gaps."""
        if seq <= self._last:
            return
        if seq != self._last + 1:
            self._kept.clear()
        self._last = seq
        self._kept.append(Placed(seq, event))
        self._news.set()
        self._news = asyncio.Event()

    def name(self, seq: int) -> str:
        """The `Last-Event-ID` of a place; it tells this run of the process from others."""
        return f"{self._run}-{seq}"

    def resume(self, name: str) -> tuple[int, bool]:
        """The place that a reader goes on from, and whether its name is of this run of the process.

        A name of another run leads to the beginning of what is kept. Raises InvalidParameter.
        """
        found = PLACE.fullmatch(name.strip())
        if found is None:
            raise InvalidParameter("`Last-Event-ID` is not one this service gave")
        here = found["run"] == self._run
        return (min(int(found["seq"]), self._last), True) if here else (0, False)

    def before_last(self, count: int) -> int:
        """The place from which the last `count` decisions are read."""
        return self._last - min(count, len(self._kept))

    def after(self, seq: int, limit: int) -> Page:
        """Up to `limit` decisions after a place, and how many between are no longer kept."""
        first = self._last - len(self._kept) + 1
        start = max(seq + 1, first)
        return Page(start - seq - 1, tuple(islice(self._kept, start - first, start - first + limit)))

    async def wait(self, timeout_s: float) -> None:
        """Waits for the next decision, `timeout_s` at most."""
        try:
            await asyncio.wait_for(self._news.wait(), timeout_s)
        except TimeoutError:
            return
