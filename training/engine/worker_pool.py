"""Processes that share a long piece of work, and end with the one that began it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import TypeVar, TypeVarTuple

import cv2

Given = TypeVarTuple("Given")
T = TypeVar("T")
R = TypeVar("R")


def worker_pool(count: int, begin: Callable[[*Given], object], *given: *Given) -> ProcessPoolExecutor:
    """`count` processes, in each of which `begin(*given)` is called once; OpenCV keeps to one thread there.

    Spawned, not forked: the caller may hold threads of torch or ONNX Runtime.
    """
    return ProcessPoolExecutor(
        count, mp_context=get_context("spawn"), initializer=_begin, initargs=(begin, given)
    )


def in_order(pool: Executor, call: Callable[[T], R], items: Iterable[T], *, at_once: int) -> Iterator[R]:
    """Yields `call(item)` of each item, in the order of the items.

    At most `at_once` items are handed out at a time, so that neither they nor their results fill the memory.
    """
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(call, item))
            if len(waiting) >= at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _begin(begin: Callable[[*Given], object], given: tuple[*Given]) -> None:
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    begin(*given)


def _end_with_parent() -> None:
    """A killed parent cannot tell its workers to stop; they would work on for nobody, or wait for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
