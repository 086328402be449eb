"""Tests on real threads that a search sees a concurrent change completely or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from service.gallery.exact import ExactGallery
from service.gallery.rows import RowsInMemory
from tests.service.gallery.vectors import spread

DIMENSION, ROUNDS, READERS = 32, 400, 3


@contextmanager
def readers(look: Callable[[], None]) -> Iterator[None]:
    """Calls `look` repeatedly on several threads until the block ends, and re-raises its errors here."""
    stop = threading.Event()
    started = threading.Barrier(READERS + 1)

    def loop() -> None:
        started.wait(30)
        while not stop.is_set():
            look()

    with ThreadPoolExecutor(READERS) as pool:
        running = [pool.submit(loop) for _ in range(READERS)]
        try:
            started.wait(30)
            yield
        finally:
            stop.set()
        for future in running:
            future.result()


def one(template_id: int) -> NDArray[np.int64]:
    return np.array([template_id], np.int64)


def test_searches_never_find_removed_templates_and_always_find_added_ones() -> None:
    gallery = ExactGallery(DIMENSION)
    query = spread(0, DIMENSION)
    added: set[int] = set()
    removed: set[int] = set()

    def look() -> None:
        there, gone = frozenset(added), frozenset(removed)
        (hits,) = gallery.search(query[None], 10_000)
        found = {hit.template_id for hit in hits}
        assert not found & gone
        # A template removed since the search began is in `removed`, or its removal is in progress.
        assert len(there - found - frozenset(removed)) <= 1

    with readers(look):
        for i in range(ROUNDS):
            gallery.add(one(i), query[None])
            added.add(i)
            if i >= 8:
                gallery.remove(one(i - 8))
                removed.add(i - 8)
    assert gallery.size == 8


def test_a_template_under_replacement_is_always_found_as_old_or_new() -> None:
    gallery = ExactGallery(DIMENSION)
    query, other = spread(0, DIMENSION), spread(1, DIMENSION)
    ids = np.arange(20, dtype=np.int64)
    versions = (np.stack([query] * 20), np.stack([other] * 20))
    gallery.add(ids, versions[1])
    after = gallery.search(query[None], 1)[0][0].score
    gallery.add(ids, versions[0])
    before = gallery.search(query[None], 1)[0][0].score
    assert before > after

    def look() -> None:
        (hits,) = gallery.search(query[None], 50)
        assert {hit.template_id for hit in hits} == set(range(20))
        assert {hit.score for hit in hits} in ({before}, {after}), "half of a replacement was seen"

    with readers(look):
        for i in range(ROUNDS):
            gallery.add(ids, versions[(i + 1) % 2])


def test_no_search_waits_for_a_change_and_an_erased_row_goes_with_the_searches_that_see_it() -> None:
    gallery = ExactGallery(DIMENSION)
    kept, erased = spread(0, DIMENSION), spread(1, DIMENSION)
    gallery.add(np.arange(2, dtype=np.int64), np.stack([kept, erased]))
    (block,) = gallery._readers.view.blocks

    def stored() -> bool:
        assert isinstance(block._rows, RowsInMemory)
        return bool((block._rows._rows == erased).all(axis=1).any())

    with gallery._changing:
        assert len(gallery.search(kept[None], 5)[0]) == 2
    with gallery._readers.reading() as earlier:
        gallery.remove(one(1))
        assert [hit.template_id for hit in gallery.search(erased[None], 5)[0]] == [0]
        # The search that began before still reads the row; it ends before the row is wiped.
        assert earlier.moment < gallery._readers.view.moment
        assert stored()
    assert not stored()
