"""Hands idle workers out, first come, first served; the one that was used last is used first."""

from __future__ import annotations

import asyncio
from collections import deque

from service.inference.decode_host import Worker


class WorkerQueue:
    """A worker goes straight to who has waited longest: nobody who comes later can take it from them."""

    def __init__(self) -> None:
        self.idle: list[Worker] = []
        self._turns: deque[asyncio.Future[Worker]] = deque()

    @property
    def waiting(self) -> int:
        return sum(not turn.done() for turn in self._turns)

    def put(self, worker: Worker) -> None:
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(worker)
                return
        self.idle.append(worker)

    async def get(self, *, wait_s: float) -> Worker:
        """Raises TimeoutError; then no worker was taken."""
        if self.idle:
            return self.idle.pop()
        turn: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            async with asyncio.timeout(wait_s):
                return await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.put(turn.result())
            raise
