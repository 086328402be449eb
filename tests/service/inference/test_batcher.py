"""Tests the batcher with a worker that can be blocked, observed and made to fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext

import pytest

from service.inference.batcher import Batcher, BatcherClosed, QueueFull
from service.inference.under_way import one_request


class Worker:
    """Doubles numbers; blocks each batch until released; fails on 13."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.entered = threading.Event()
        if not held:
            self.gate.set()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.entered.set()
        self.gate.wait(10)
        if 13 in items:
            raise ValueError("thirteen")
        return [2 * item for item in items]


@asynccontextmanager
async def running(
    worker: Worker, *, max_batch: int = 4, max_queue: int = 8, by_parity: bool = False
) -> AsyncIterator[Batcher[int, int]]:
    key = (lambda item: item % 2) if by_parity else None
    batcher = Batcher[int, int](worker, name="test", max_batch=max_batch, max_queue=max_queue, key=key)
    batcher.start()
    try:
        yield batcher
    finally:
        worker.gate.set()
        await batcher.close()


async def hold_one(batcher: Batcher[int, int], worker: Worker) -> asyncio.Task[int]:
    """Occupies the worker, so that later items have to wait."""
    task = asyncio.create_task(batcher.submit(1))
    await asyncio.to_thread(worker.entered.wait, 10)
    return task


async def test_each_caller_gets_its_own_result() -> None:
    worker = Worker()
    async with running(worker) as batcher:
        answers = await asyncio.gather(*(batcher.submit(n) for n in range(8)))
    assert answers == [2 * n for n in range(8)]


async def test_waiting_items_share_a_batch_in_order_of_arrival() -> None:
    worker = Worker(held=True)
    async with running(worker) as batcher:
        first = await hold_one(batcher, worker)
        rest = [asyncio.create_task(batcher.submit(n)) for n in (2, 3, 4, 5, 6)]
        await asyncio.sleep(0)
        worker.gate.set()
        await asyncio.gather(first, *rest)
    assert worker.batches == [[1], [2, 3, 4, 5], [6]]


async def test_a_batch_holds_items_of_one_key() -> None:
    worker = Worker(held=True)
    async with running(worker, by_parity=True) as batcher:
        first = await hold_one(batcher, worker)
        rest = [asyncio.create_task(batcher.submit(n)) for n in (2, 3, 4, 5)]
        await asyncio.sleep(0)
        worker.gate.set()
        assert await asyncio.gather(first, *rest) == [2, 4, 6, 8, 10]
    assert worker.batches == [[1], [2, 4], [3, 5]]


async def test_a_full_queue_refuses_at_once() -> None:
    worker = Worker(held=True)
    async with running(worker, max_queue=2) as batcher:
        first = await hold_one(batcher, worker)
        rest = [asyncio.create_task(batcher.submit(n)) for n in (2, 3)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await batcher.submit(4)
        worker.gate.set()
        assert await asyncio.gather(first, *rest) == [2, 4, 6]


async def test_a_full_queue_refuses_new_requests_and_none_under_way() -> None:
    worker = Worker()
    async with running(worker, max_queue=1) as batcher:
        with one_request():
            assert await batcher.submit(1) == 2
            worker.gate.clear()
            worker.entered.clear()
            held = await hold_one(batcher, worker)
            waiting = asyncio.create_task(batcher.submit(3))
            await asyncio.sleep(0)
            under_way = asyncio.create_task(batcher.submit(5))
            await asyncio.sleep(0)
            assert batcher.depth == 2
        for new in (one_request(), nullcontext()):
            with new, pytest.raises(QueueFull):
                await batcher.submit(7)
        worker.gate.set()
        assert list(await asyncio.gather(held, waiting, under_way)) == [2, 6, 10]


async def test_a_failing_batch_fails_only_its_own_items_and_the_loop_continues() -> None:
    worker = Worker()
    async with running(worker) as batcher:
        with pytest.raises(ValueError, match="thirteen"):
            await batcher.submit(13)
        assert batcher.failed
        assert await batcher.submit(5) == 10
        assert not batcher.failed


async def test_a_cancelled_caller_is_skipped_and_frees_its_place() -> None:
    worker = Worker(held=True)
    async with running(worker, max_queue=2) as batcher:
        first = await hold_one(batcher, worker)
        gone = [asyncio.create_task(batcher.submit(n)) for n in (2, 3)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        kept = asyncio.create_task(batcher.submit(4))
        await asyncio.sleep(0)
        worker.gate.set()
        assert list(await asyncio.gather(first, kept)) == [2, 8]
    assert worker.batches == [[1], [4]]


async def test_close_finishes_the_queue_and_then_refuses() -> None:
    worker = Worker(held=True)
    batcher = Batcher[int, int](worker, name="test", max_batch=4, max_queue=8)
    batcher.start()
    first = await hold_one(batcher, worker)
    waiting = asyncio.create_task(batcher.submit(2))
    await asyncio.sleep(0)
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(BatcherClosed):
        await batcher.submit(3)
    worker.gate.set()
    assert list(await asyncio.gather(first, waiting)) == [2, 4]
    await closing


async def test_a_missing_result_is_an_error_for_the_whole_batch() -> None:
    batcher = Batcher[int, int](lambda items: items[1:], name="test", max_batch=4, max_queue=8)
    batcher.start()
    with pytest.raises(RuntimeError, match="0 results for 1 items"):
        await batcher.submit(1)
    await batcher.close()
