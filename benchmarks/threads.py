"""Threads of callers: at work while a `with` block runs, or until all of them are done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Self


class AtWork:
    """Runs each of these while the block runs; `over` tells them to end, and the block waits for them."""

    def __init__(self, works: Sequence[Callable[[], None]]) -> None:
        self.over = threading.Event()
        self._threads = [threading.Thread(target=work) for work in works]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()


def run_together(works: Sequence[Callable[[], None]]) -> None:
    """Runs each of these in a thread of its own, and returns when all have returned."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def share_out(count: int, work: Callable[[int], None], callers: int) -> None:
    """Calls `work` with each number below `count`. Each caller, a thread, takes the next when it is free."""
    lock, numbers = threading.Lock(), iter(range(count))

    def run() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            work(number)

    run_together([run] * callers)
