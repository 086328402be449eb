"""Searches of several callers go together, and each gets its own answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

import numpy as np
import pytest

from service.gallery.base import Hit
from service.gallery.exact import ExactGallery
from service.gallery.together import Floats, Together
from tests.service.gallery.vectors import spread

DIMENSION, CALLERS, WAIT_S = 16, 9, 60.0


class Counted:
    """A gallery's search that says how many queries came at once, and waits while it is held."""

    def __init__(self) -> None:
        self.gallery = ExactGallery(DIMENSION)
        rows = np.stack([spread(seed, DIMENSION) for seed in range(300)])
        self.gallery.add(np.arange(300), rows)
        self.sizes: list[int] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def search(self, queries: Floats, k: int) -> list[list[Hit]]:
        self.sizes.append(len(queries))
        self.begun.set()
        assert self.go_on.wait(WAIT_S)
        if (queries == 0).all(axis=1).any():
            raise ValueError("a query is zero")
        return self.gallery.search(queries, k)


def together(counted: Counted, most: int) -> Together:
    return Together(counted.search, most=most, at_once=1)


def begin(
    pool: ThreadPoolExecutor,
    asked: Together,
    counted: Counted,
    calls: Sequence[Callable[[], list[list[Hit]]]],
) -> list[Future[list[list[Hit]]]]:
    """The first call begins, and the others come while it is under way."""
    first = pool.submit(calls[0])
    assert counted.begun.wait(WAIT_S)
    others = []
    for number, call in enumerate(calls[1:], 1):
        others.append(pool.submit(call))
        while len(asked._waiting) < number:
            threading.Event().wait(0.001)
    return [first, *others]


@pytest.mark.parametrize(("most", "sizes"), [(32, [1, 16]), (5, [1, 4, 4, 4, 4]), (1, [1, *[2] * 8])])
def test_whoever_comes_meanwhile_goes_together_and_gets_what_it_would_alone(
    most: int, sizes: list[int]
) -> None:
    counted = Counted()
    asked = together(counted, most)
    queries = [spread(900, DIMENSION)[None]]
    queries += [
        np.stack([spread(1000 + i, DIMENSION), spread(2000 + i, DIMENSION)]) for i in range(CALLERS - 1)
    ]
    with ThreadPoolExecutor(CALLERS) as pool:
        calls = [partial(asked.search, rows, 1 + i % 4) for i, rows in enumerate(queries)]
        running = begin(pool, asked, counted, calls)
        counted.go_on.set()
        for i, (rows, future) in enumerate(zip(queries, running, strict=True)):
            assert future.result(WAIT_S) == counted.gallery.search(rows, 1 + i % 4)
    assert counted.sizes == sizes


def test_a_search_that_fails_fails_for_those_that_went_with_it_and_for_no_other() -> None:
    counted = Counted()
    asked = together(counted, 2)
    good, zero = spread(1, DIMENSION)[None], np.zeros((1, DIMENSION), np.float32)
    with ThreadPoolExecutor(4) as pool:
        calls = [partial(asked.search, rows, 3) for rows in (good, zero, good, good)]
        first, bad, beside, after = begin(pool, asked, counted, calls)
        counted.go_on.set()
        for failed in (bad, beside):
            with pytest.raises(ValueError, match="a query is zero"):
                failed.result(WAIT_S)
        assert first.result(WAIT_S) == after.result(WAIT_S) == counted.gallery.search(good, 3)


class Stepwise:
    """A search whose calls end one by one; the call with a query of minus ones is interrupted."""

    def __init__(self, calls: int) -> None:
        self.sizes: list[int] = []
        self.begun = [threading.Event() for _ in range(calls)]
        self.go_on = [threading.Event() for _ in range(calls)]

    def search(self, queries: Floats, k: int) -> list[list[Hit]]:
        call = len(self.sizes)
        self.sizes.append(len(queries))
        self.begun[call].set()
        assert self.go_on[call].wait(WAIT_S)
        if (queries[0] == -1).all() and self.sizes.count(len(queries)) == 1:
            raise SystemExit
        return [[Hit(int(query[0]), 1.0)] for query in queries]


def numbered(value: int) -> Floats:
    return np.full((1, 1), value, np.float32)


def waits(asked: Together, number: int) -> None:
    while len(asked._waiting) < number:
        threading.Event().wait(0.001)


def test_a_free_call_is_not_for_those_that_are_being_answered() -> None:
    steps = Stepwise(3)
    asked = Together(steps.search, most=2, at_once=2)
    with ThreadPoolExecutor(4) as pool:
        running = []
        for value in (0, 1):
            running.append(pool.submit(asked.search, numbered(value), 1))
            assert steps.begun[value].wait(WAIT_S)
        for value in (2, 3):
            running.append(pool.submit(asked.search, numbered(value), 1))
            waits(asked, value - 1)
        steps.go_on[0].set()
        assert steps.begun[2].wait(WAIT_S)
        # The second call ends while the third answers the two others.
        steps.go_on[1].set()
        assert not wait(running[2:], 0.3).done
        steps.go_on[2].set()
        assert [future.result(WAIT_S) for future in running] == [[[Hit(value, 1.0)]] for value in range(4)]
    assert steps.sizes == [1, 1, 2]


def test_whoever_is_interrupted_leaves_nobody_waiting() -> None:
    steps = Stepwise(3)
    for event in steps.go_on[1:]:
        event.set()
    asked = Together(steps.search, most=2, at_once=1)
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(asked.search, numbered(0), 1)]
        assert steps.begun[0].wait(WAIT_S)
        for number, value in enumerate((-1, 5), 1):
            running.append(pool.submit(asked.search, numbered(value), 1))
            waits(asked, number)
        steps.go_on[0].set()
        wait(running, WAIT_S)
        found = [future.result() for future in running if not future.exception()]
        assert found[0] == [[Hit(0, 1.0)]]
        assert [[Hit(5, 1.0)]] in found or [[Hit(-1, 1.0)]] in found
        assert sum(isinstance(future.exception(), SystemExit) for future in running) == 1
    assert not asked._waiting


def test_a_large_gallery_answers_many_at_once_as_it_answers_one() -> None:
    gallery = ExactGallery(DIMENSION, block_rows=4096)
    rows = np.random.default_rng(0).standard_normal((21_000, DIMENSION)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    gallery.add(np.arange(len(rows)), rows)
    queries = rows[::1000]
    alone = [gallery._search(query[None], 5)[0] for query in queries]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda query: gallery.search(query[None], 5)[0], np.repeat(queries, 8, axis=0)))
    assert found == [hits for hits in alone for _ in range(8)]
