"""Limits the pixels that all requests together have in work, from the decoding of a photo to its last use."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from service.errors import Overloaded


class PixelBudget:
    """Gives pixels out first come, first served. `limit`: at least the pixels of the largest photo."""

    def __init__(self, limit: int) -> None:
        self._limit, self._taken = limit, 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        # Memory that is freed gives its pixels back, in whichever thread that happens, or amid any line
        # of this class: a lock could wait for itself, a deque cannot.
        self._returned: deque[int] = deque()

    @property
    def in_work(self) -> int:
        return self._taken - sum(tuple(self._returned))

    def try_take(self, pixels: int) -> bool:
        """Takes the pixels, unless they do not fit now or others wait."""
        self._count_returned()
        if self._waiting or self._taken + pixels > self._limit:
            return False
        self._taken += pixels
        return True

    async def take(self, pixels: int, *, wait_s: float) -> None:
        """Waits for its turn. Raises Overloaded after `wait_s`; then nothing was taken."""
        if self.try_take(pixels):
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._waiting.append((pixels, turn))
        self._serve()
        try:
            async with asyncio.timeout(wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.give_back(pixels)
            else:
                self._waiting = deque(each for each in self._waiting if each[1] is not turn)
                self._serve()
            if isinstance(error, TimeoutError):
                raise Overloaded("other large photos are in work; try again", retry_after_s=2) from error
            raise

    def give_back(self, pixels: int) -> None:
        """May be called from any thread."""
        self._returned.append(pixels)
        if self._waiting and self._loop is not None:
            with suppress(RuntimeError):  # The loop is closed: nobody waits any more.
                self._loop.call_soon_threadsafe(self._serve)

    def _count_returned(self) -> None:
        while self._returned:
            self._taken -= self._returned.popleft()

    def _serve(self) -> None:
        self._count_returned()
        while self._waiting and self._taken + self._waiting[0][0] <= self._limit:
            pixels, turn = self._waiting.popleft()
            if not turn.done():
                self._taken += pixels
                turn.set_result(None)
