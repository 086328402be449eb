"""Lets searches that come while others run go together: many probes read the rows of a gallery once.

Each answer is what the search alone would have given, of a moment after it was asked for.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.gallery.base import Hit

Floats = NDArray[np.float32]
Found = list[list[Hit]]
Search = Callable[[Floats, int], Found]


@dataclass(slots=True, eq=False)
class _Asked:
    queries: Floats
    k: int
    found: Found | None = None
    failed: Exception | None = None

    def done(self) -> bool:
        return self.found is not None or self.failed is not None


class Together:
    """Calls `search` for several callers at once.

    `most`: queries of one call, unless a single caller has more. `at_once`: calls that run beside each
    other.
    """

    def __init__(self, search: Search, *, most: int, at_once: int) -> None:
        self._search, self._most = search, most
        self._at_once = at_once
        self._change = threading.Condition()
        self._waiting = deque[_Asked]()
        self._running = 0

    def search(self, queries: Floats, k: int) -> Found:
        """Blocks. Raises what `search` raises."""
        mine = _Asked(queries, k)
        try:
            with self._change:
                self._waiting.append(mine)
            while not mine.done():
                self._wait_or_answer(mine)
        finally:
            with self._change:
                if mine in self._waiting:  # interrupted
                    self._waiting.remove(mine)
        if mine.failed is not None:
            raise mine.failed
        assert mine.found is not None  # noqa: S101 - done, and not failed
        return mine.found

    def _wait_or_answer(self, mine: _Asked) -> None:
        with self._change:
            # Who goes in another's call leaves the free call to those that still wait.
            self._change.wait_for(
                lambda: mine.done() or (self._running < self._at_once and mine in self._waiting)
            )
            if mine.done():
                return
            group = self._next_group()
            self._running += 1
        try:
            self._answer(group)
        finally:
            with self._change:
                # If this thread was interrupted, the others of its call wait for the next.
                self._waiting.extendleft(one for one in reversed(group) if not one.done())
                self._running -= 1
                self._change.notify_all()

    def _next_group(self) -> list[_Asked]:
        """The first that wait, as many as go together. Whoever asks waits itself, so at least one does."""
        group = [self._waiting.popleft()]
        count = len(group[0].queries)
        while self._waiting and count + len(self._waiting[0].queries) <= self._most:
            group.append(self._waiting.popleft())
            count += len(group[-1].queries)
        return group

    def _answer(self, group: list[_Asked]) -> None:
        try:
            found = self._search(np.concatenate([one.queries for one in group]), max(one.k for one in group))
        except Exception as error:  # noqa: BLE001 - theirs to raise; who made the call may wait for another
            for one in group:
                one.failed = error
            return
        for one in group:
            # The best k are the first of the best more.
            one.found = [hits[: one.k] for hits in found[: len(one.queries)]]
            found = found[len(one.queries) :]
