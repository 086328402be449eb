"""Batches items that wait for the same network into one forward pass. Knows nothing of faces.

One asyncio task forms batches, one worker thread runs them, one future carries each result.
No batch waits to fill up: the items that arrive while the worker is busy form the next batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.inference.under_way import has_begun, is_under_way

In = TypeVar("In")
Out = TypeVar("Out")
Run = Callable[[Sequence[In]], Sequence[Out]]
Observe = Callable[[int], None]


class QueueFull(RuntimeError):
    """The queue holds `max_queue` items already; the batcher refuses new work instead of letting it wait."""


class BatcherClosed(RuntimeError):
    """The batcher is closing: it finishes its queue and takes no more items."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[In, Out]):
    item: In
    key: Hashable
    future: asyncio.Future[Out]


class Batcher(Generic[In, Out]):
    """Calls `run` with up to `max_batch` items of one `key`; `run` returns one result for each, in order.

    A failing batch passes its error to its own items, and the loop continues. `failed` then stays true
    until a later batch succeeds; readiness clears it after a real forward pass.
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
        """Number of waiting items, without the batch in the worker."""
        return len(self._waiting)

    def start(self) -> None:
        """Starts the loop. Call it once, inside a running event loop."""
        self._task = asyncio.create_task(self._loop(), name=f"batcher-{self.name}")

    async def submit(self, item: In) -> Out:
        """Returns the item's result.

        Raises QueueFull or BatcherClosed at once, or the error that `run` raised for the item's batch. A
        request that is under way is not refused for a full queue.
        """
        if self._closing or self._task is None:
            raise BatcherClosed(f"batcher {self.name} takes no more")
        if len(self._waiting) >= self._max_queue and not is_under_way():
            self._drop_cancelled()
            if len(self._waiting) >= self._max_queue:
                raise QueueFull(f"{self._max_queue} items wait for {self.name} already")
        has_begun()
        future: asyncio.Future[Out] = asyncio.get_running_loop().create_future()
        key = self._key(item) if self._key else None
        self._waiting.append(_Entry(item, key, future))
        self._wake.set()
        return await future

    async def close(self) -> None:
        """Finishes the queue, then stops. A second call does nothing."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        self._worker.shutdown(wait=True)

    def _drop_cancelled(self) -> None:
        self._waiting = deque(entry for entry in self._waiting if not entry.future.done())

    def _next_batch(self) -> list[_Entry[In, Out]]:
        """Takes the oldest live entry and the entries behind it with the same key, in order of arrival."""
        self._drop_cancelled()
        if not self._waiting:
            return []
        key, rest = self._waiting[0].key, deque[_Entry[In, Out]]()
        batch: list[_Entry[In, Out]] = []
        for entry in self._waiting:
            (batch if entry.key == key and len(batch) < self._max_batch else rest).append(entry)
        self._waiting = rest
        return batch

    async def _loop(self) -> None:
        while True:
            if batch := self._next_batch():
                await self._answer(batch)
            elif self._closing:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _answer(self, batch: Sequence[_Entry[In, Out]]) -> None:
        """Runs one batch. A function of its own, so that no variable keeps a photo until the next batch."""
        try:
            items = [entry.item for entry in batch]
            results = await asyncio.get_running_loop().run_in_executor(self._worker, self._run, items)
            if len(results) != len(batch):
                raise RuntimeError(f"{self.name}: {len(results)} results for {len(batch)} items")
        except Exception as error:  # noqa: BLE001 - goes to the callers; the loop must go on
            self.failed = True
            for entry in batch:
                if not entry.future.done():
                    entry.future.set_exception(error)
            return
        self.failed = False
        if self._observe:
            self._observe(len(batch))
        for entry, result in zip(batch, results, strict=True):
            if not entry.future.done():
                entry.future.set_result(result)
