"""Requests that wait for the same network share one forward pass. Knows nothing of faces.

One asyncio task forms batches, one worker thread runs them, one future carries each answer.
No batch waits for company: what arrived while the worker was busy forms the next batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")
Run = Callable[[Sequence[In]], Sequence[Out]]
Observe = Callable[[int], None]


class QueueFull(RuntimeError):
    """The queue holds `max_queue` items already: refuse now, do not wait."""


class BatcherClosed(RuntimeError):
    """The batcher drains: it finishes what it has and takes nothing more."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[In, Out]):
    item: In
    key: Hashable
    future: asyncio.Future[Out]


class Batcher(Generic[In, Out]):
    """`run` gets up to `max_batch` items of one `key` and returns one result for each, in order.

    A batch that fails gives its error to its own items and the loop lives on; `failed` stays true
    until a later batch succeeds, which is what readiness asks for with a real forward pass.
    """

    def __init__(
        self,
        run: Run[In, Out],
        *,
        name: str,
        max_batch: int,
        max_queue: int,
        key: Callable[[In], Hashable] | None = None,
        observe: Observe | None = None,
    ) -> None:
        self._run, self._key, self._observe = run, key, observe
        self._max_batch, self._max_queue = max_batch, max_queue
        self.name, self.failed = name, False
        self._waiting: deque[_Entry[In, Out]] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"batch-{name}")

    @property
    def depth(self) -> int:
        """Items that wait, not counting the batch in the worker."""
        return len(self._waiting)

    def start(self) -> None:
        """Start the loop; call once, inside a running event loop."""
        self._task = asyncio.create_task(self._loop(), name=f"batcher-{self.name}")

    async def submit(self, item: In) -> Out:
        """Raises QueueFull or BatcherClosed at once, or what `run` raised for the item's batch."""
        if self._closing or self._task is None:
            raise BatcherClosed(f"batcher {self.name} takes no more")
        if len(self._waiting) >= self._max_queue:
            self._forget_gone()
            if len(self._waiting) >= self._max_queue:
                raise QueueFull(f"{self._max_queue} items wait for {self.name} already")
        future: asyncio.Future[Out] = asyncio.get_running_loop().create_future()
        key = self._key(item) if self._key else None
        self._waiting.append(_Entry(item, key, future))
        self._wake.set()
        return await future

    async def close(self) -> None:
        """Finish what waits, then stop. Safe to call twice."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        self._worker.shutdown(wait=True)

    def _forget_gone(self) -> None:
        self._waiting = deque(entry for entry in self._waiting if not entry.future.done())

    def _take(self) -> list[_Entry[In, Out]]:
        """The oldest live entry and those behind it with the same key, in order of arrival."""
        self._forget_gone()
        if not self._waiting:
            return []
        key, rest = self._waiting[0].key, deque[_Entry[In, Out]]()
        batch: list[_Entry[In, Out]] = []
        for entry in self._waiting:
            (batch if entry.key == key and len(batch) < self._max_batch else rest).append(entry)
        self._waiting = rest
        return batch

    async def _loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = self._take()
            if not batch:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            try:
                results = await loop.run_in_executor(self._worker, self._run, [entry.item for entry in batch])
                if len(results) != len(batch):
                    raise RuntimeError(f"{self.name}: {len(results)} results for {len(batch)} items")
            except Exception as error:  # noqa: BLE001 - belongs to the callers; the loop must live
                self.failed = True
                for entry in batch:
                    if not entry.future.done():
                        entry.future.set_exception(error)
                continue
            self.failed = False
            if self._observe:
                self._observe(len(batch))
            for entry, result in zip(batch, results, strict=True):
                if not entry.future.done():
                    entry.future.set_result(result)
