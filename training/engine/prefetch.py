"""Makes batches in threads while the last one is in use."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterator[T], depth: int = 4) -> Iterator[T]:
    """Yields the items, which a thread makes in advance; raises the thread's errors here.

    A consumer that stops early waits for the item in the making: a process that ends while one of its
    threads is inside torch crashes.
    """
    waiting: queue.Queue[T | Exception | None] = queue.Queue(depth)
    stop = threading.Event()

    def give(item: T | Exception | None) -> bool:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not give(item):
                    return
            give(None)
        except Exception as error:  # noqa: BLE001 - handed to the reader
            give(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def prefetch_map(make: Callable[[int], T], iterations: range, *, workers: int) -> Iterator[T]:
    """Yields `make(i)` of each iteration in order; threads make several in advance."""
    pool = ThreadPoolExecutor(workers)
    try:
        waiting = deque(pool.submit(make, i) for i in iterations[: workers + 2])
        for i in iterations[workers + 2 :]:
            yield waiting.popleft().result()
            waiting.append(pool.submit(make, i))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
