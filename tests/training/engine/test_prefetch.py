"""A thread makes batches in advance."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import count

import pytest

from training.data.records import DataSetError
from training.engine.prefetch import prefetch


def test_an_error_in_the_thread_reaches_the_reader() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise DataSetError("a shard is gone")

    items = prefetch(broken())
    assert next(items) == 1
    with pytest.raises(DataSetError, match="shard"):
        next(items)


def test_stopping_early_leaves_no_thread_behind() -> None:
    made: list[int] = []

    def endless() -> Iterator[int]:
        for number in count():
            time.sleep(0.05)
            made.append(number)
            yield number

    def broken() -> Iterator[int]:
        yield from range(3)
        raise ValueError("nobody reads this any more")

    for items in (prefetch(endless(), depth=2), prefetch(broken(), depth=1)):
        before = threading.active_count()
        assert next(iter(items)) == 0
        assert threading.active_count() == before + 1
        items.close()  # type: ignore[attr-defined]
        assert threading.active_count() == before
    done = len(made)
    time.sleep(0.2)
    assert len(made) == done
