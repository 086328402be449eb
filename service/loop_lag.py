"""Watches the event loop: how late it comes to what is due, and how long one turn computes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

BEAT_S = 0.02
# The maxima are of the last one to two windows, so that every scraper sees each.
WINDOW_S = 30.0


class LoopLag:
    """Measures from inside, where a full machine does not hide what the service does itself.

    `lag_s`: time by which a beat came late, whoever was to blame: a callback that blocks, a thread that
    holds the interpreter, or other processes. `busy_s`: computing of the loop's own thread between two
    beats: no callback took more than that.
    """

    def __init__(self) -> None:
        self._lags, self._busy = [0.0, 0.0], [0.0, 0.0]
        self._window_ends = time.monotonic() + WINDOW_S

    @property
    def worst_lag_s(self) -> float:
        """Of the last `WINDOW_S` at least."""
        return max(self._lags)

    @property
    def worst_busy_s(self) -> float:
        """Of the last `WINDOW_S` at least."""
        return max(self._busy)

    async def watch(self, observe: Callable[[float, float], None]) -> None:
        """Beats until it is cancelled, within the loop that it watches. `observe` takes lag and computing."""
        while True:
            due, computed = time.monotonic() + BEAT_S, time.thread_time()
            await asyncio.sleep(BEAT_S)
            now = time.monotonic()
            lag, busy = max(0.0, now - due), time.thread_time() - computed
            observe(lag, busy)
            if now >= self._window_ends:
                self._lags, self._busy = [0.0, self._lags[0]], [0.0, self._busy[0]]
                self._window_ends = now + WINDOW_S
            self._lags[0], self._busy[0] = max(self._lags[0], lag), max(self._busy[0], busy)
