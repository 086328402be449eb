"""The throttle of a backfill: it gives way to live requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Throttle:
    """Gives way to live requests, and rests in proportion to the measured work.

    `busy` tells whether a request is in work. If there is one, a turn waits for a gap, at most for
    `patience` times the duration of the last turn and for `max_wait_s`. It then takes one crop, the
    shortest work that a request may have to wait for. Without requests for `quiet_s` it takes `batch`
    crops. A turn of w seconds is followed by a rest of `rest` x w. So with requests always in work, the
    backfill works for one part in `patience` + `rest` + 1 of the time, unless `max_wait_s` cuts the wait.
    """

    busy: Callable[[], bool]
    rest: float = 1.0
    patience: float = 2.0
    batch: int = 8
    max_wait_s: float = 0.5
    quiet_s: float = 5.0
    poll_s: float = 0.005
    _last_busy_s: float = field(default=-1e9)
    _worked_s: float = field(default=1.0)

    async def turn(self) -> int:
        """Waits for a gap. Returns the number of crops to take now."""
        end = time.monotonic() + min(self.max_wait_s, self.patience * self._worked_s)
        while self.busy() and time.monotonic() < end:
            self._last_busy_s = time.monotonic()
            await asyncio.sleep(self.poll_s)
        return 1 if time.monotonic() - self._last_busy_s < self.quiet_s else self.batch

    async def pause(self, worked_s: float) -> None:
        """Rests after a turn of `worked_s` seconds, and watches for requests meanwhile."""
        self._worked_s = worked_s
        end = time.monotonic() + self.rest * worked_s
        while True:
            if self.busy():
                self._last_busy_s = time.monotonic()
            if (left := end - time.monotonic()) <= 0:
                return
            await asyncio.sleep(min(self.poll_s, left))
