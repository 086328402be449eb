"""Compares every gallery with a brute-force float64 gallery on the same operations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from numpy.typing import NDArray

from service.gallery.base import Gallery, Hit
from service.gallery.exact import ExactGallery, MakeRows
from service.gallery.rows import RowsInMemory, SealedRows
from tests.service.gallery.oracle import (
    DIMENSION,
    IDS,
    VECTORS,
    Oracle,
    agree,
    as_ids,
    brute_force,
    gallery_rows,
)
from tests.service.gallery.stored import StoredGallery
from tests.service.gallery.stored_milvus import StoredInMilvus
from tests.service.gallery.vectors import Floats, few_values, nudged, spread

# Small, so that blocks fill, empty and move.
BLOCK_ROWS = 64
Make = Callable[[int], Gallery]


@pytest.fixture(params=["memory", "file", "pgvector", pytest.param("milvus", marks=pytest.mark.slow)])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes empty galleries of a dimension: the embedded one with its rows in memory or in sealed files, and
    those of PostgreSQL and of Milvus in exact mode."""
    if request.param in ("memory", "file"):
        rows: MakeRows = (
            RowsInMemory if request.param == "memory" else partial(SealedRows, directory=tmp_path)
        )
        yield lambda dimension: ExactGallery(dimension, block_rows=BLOCK_ROWS, rows=rows)
        return
    made: list[StoredGallery | StoredInMilvus] = []

    def stored(dimension: int) -> Gallery:
        url = request.getfixturevalue("pgvector_url")
        if request.param == "pgvector":
            made.append(StoredGallery(url, dimension, index="exact"))
        else:
            milvus = request.getfixturevalue("milvus")
            made.append(StoredInMilvus(url, milvus.uri, dimension, index="exact"))
        return made[-1]

    yield stored
    for one in made:
        one.close()


class Congruence(RuleBasedStateMachine):
    """After any sequence of operations both galleries give the same results."""

    make: Make

    @initialize()
    def empty(self) -> None:
        self.gallery, self.oracle = self.make(DIMENSION), Oracle()

    @rule(rows=st.dictionaries(IDS, VECTORS, max_size=8))
    def add_or_replace(self, rows: dict[int, Floats]) -> None:
        vectors = np.array(list(rows.values()), np.float32).reshape(len(rows), DIMENSION)
        self.gallery.add(as_ids(list(rows)), vectors)
        self.oracle.vectors.update(rows)

    @rule(first=st.sampled_from([1000, 1500]), count=st.sampled_from([40, 20 * BLOCK_ROWS + 9]))
    def add_many(self, first: int, count: int) -> None:
        rows = {first + i: nudged(first, i, DIMENSION) for i in range(count)}
        self.gallery.add(as_ids(list(rows)), np.stack(list(rows.values())))
        self.oracle.vectors.update(rows)

    @rule(ids=st.lists(IDS, max_size=8))
    def remove(self, ids: list[int]) -> None:
        self.gallery.remove(as_ids(ids))
        for i in ids:
            self.oracle.vectors.pop(i, None)

    @rule()
    def remove_many(self) -> None:
        many = [i for i in self.oracle.vectors if i >= 1000]
        self.gallery.remove(as_ids(many))
        for i in many:
            del self.oracle.vectors[i]

    @rule()
    def clear(self) -> None:
        self.gallery.clear()
        self.oracle.vectors.clear()

    @rule(queries=st.lists(VECTORS, min_size=1, max_size=4), k=st.sampled_from([1, 2, 3, 5, 40, 5000]))
    def search(self, queries: list[Floats], k: int) -> None:
        answers = self.gallery.search(np.stack(queries), k)
        for query, found in zip(queries, answers, strict=True):
            agree(found, self.oracle.search(query, k))

    @invariant()
    def sizes_agree(self) -> None:
        if hasattr(self, "oracle"):
            assert self.gallery.size == len(self.oracle.vectors)


# A step of a stored gallery takes many times as long.
EXAMPLES = {"memory": (60, 25), "file": (20, 25), "pgvector": (6, 12), "milvus": (2, 8)}


def test_any_sequence_of_operations_gives_the_results_of_brute_force(
    make: Make, request: pytest.FixtureRequest
) -> None:
    examples, steps = EXAMPLES[request.node.callspec.params["make"]]
    machine = type("Made", (Congruence,), {"make": staticmethod(make)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_scores_closer_than_float32_resolves_are_sorted_at_full_size(make: Make) -> None:
    gallery, oracle = make(256), Oracle()
    oracle.vectors = {i: nudged(i % 7, i, 256) for i in range(3000)}
    gallery.add(as_ids(list(oracle.vectors)), np.stack(list(oracle.vectors.values())))
    queries = np.stack([spread(seed, 256) for seed in range(40)])
    for query, found in zip(queries, gallery.search(queries, 50), strict=True):
        agree(found, oracle.search(query, 50))


@pytest.mark.parametrize("left", [0, 1, 3, 200])
def test_a_gallery_that_grew_and_shrank_keeps_ids_and_vectors_together(make: Make, left: int) -> None:
    gallery, oracle = make(DIMENSION), Oracle()
    rows = {7 * i: spread(i, DIMENSION) for i in range(4096)}
    queries = np.stack(list(rows.values())[::256])
    gallery.add(as_ids(list(rows)), np.stack(list(rows.values())))
    order = list(np.random.default_rng(0).permutation(list(rows)))
    oracle.vectors = {int(i): rows[i] for i in order[:left]}
    gallery.remove(as_ids(order[left:]))
    assert gallery.size == left
    for _ in range(2):
        for query, found in zip(queries, gallery.search(queries, 5), strict=True):
            agree(found, oracle.search(query, 5))
        # Again after adding all of them back.
        oracle.vectors = rows
        gallery.add(as_ids(list(rows)), np.stack(list(rows.values())))


def test_a_result_depends_neither_on_the_batch_nor_on_the_order_of_rows(make: Make) -> None:
    rows = {i: nudged(0, i, 64) for i in range(200)}
    queries = np.stack([spread(seed, 64) for seed in range(33)])
    answers = []
    for order in (list(rows), list(reversed(rows))):
        gallery = make(64)
        gallery.add(as_ids(order), np.stack([rows[i] for i in order]))
        answers.append(gallery.search(queries, 10))
        answers.append([gallery.search(query[None], 10)[0] for query in queries])
    assert answers[0] == answers[1] == answers[2] == answers[3]


def test_ties_are_sorted_by_id_even_if_k_cuts_through_them(make: Make) -> None:
    gallery = make(8)
    same = few_values(0, 8)
    gallery.add(as_ids([9, 4, -2, 7, 1]), np.stack([same] * 5))
    (found,) = gallery.search(same[None], 3)
    assert [hit.template_id for hit in found] == [-2, 1, 4]
    assert [hit.score for hit in found] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("ids", "vectors", "told"),
    [
        (as_ids([1]), np.zeros((1, 7), np.float32), r"\[1, 8\]"),
        (as_ids([1, 2]), np.zeros((1, 8), np.float32), r"\[2, 8\]"),
        (as_ids([1]), np.zeros(8, np.float32), r"\[1, 8\]"),
        (as_ids([1]), np.zeros((1, 8), np.float64), "float32"),
        (as_ids([1, 1]), np.zeros((2, 8), np.float32), "twice"),
        (as_ids([2]), np.full((1, 8), np.nan, np.float32), "longer than 1 or not finite"),
        (as_ids([2]), np.full((1, 8), np.inf, np.float32), "longer than 1 or not finite"),
        (as_ids([2]), np.full((1, 8), 0.5, np.float32), "longer than 1 or not finite"),
        (np.array([2**63], np.uint64), np.zeros((1, 8), np.float32), "int64 ids"),
        (np.array([1.5]), np.zeros((1, 8), np.float32), "int64 ids"),
        (as_ids([2])[None], np.zeros((1, 8), np.float32), "int64 ids"),
    ],
)
def test_an_invalid_addition_is_refused_and_changes_nothing(
    make: Make, ids: NDArray[Any], vectors: Floats, told: str
) -> None:
    gallery = make(8)
    kept = few_values(1, 8)
    gallery.add(as_ids([1]), kept[None])
    with pytest.raises(ValueError, match=told):
        gallery.add(ids, vectors)
    assert gallery.search(kept[None], 5) == [[Hit(1, 1.0)]]


@pytest.mark.parametrize(
    ("queries", "k"),
    [
        (np.zeros((1, 7), np.float32), 1),
        (np.zeros(8, np.float32), 1),
        (np.zeros((1, 8), np.float64), 1),
        (np.zeros((1, 8), np.float32), 0),
    ],
)
@pytest.mark.parametrize("filled", [False, True])
def test_an_invalid_query_is_refused(make: Make, queries: Floats, k: int, filled: bool) -> None:
    gallery = make(8)
    if filled:
        gallery.add(as_ids([1]), few_values(1, 8)[None])
    with pytest.raises(ValueError, match="expected float32"):
        gallery.search(queries, k)


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.5])
def test_a_query_without_bounds_is_refused_and_fails_no_other(make: Make, value: float) -> None:
    with pytest.raises(ValueError, match="longer than 1 or not finite"):
        make(8).search(np.full((1, 8), value, np.float32), 1)


def test_ids_reach_from_the_least_int64_to_the_largest(make: Make) -> None:
    gallery, row = make(8), few_values(0, 8)
    ids = [2**63 - 1, 0, -(2**63)]
    gallery.add(as_ids(ids), np.stack([row] * 3))
    assert [hit.template_id for hit in gallery.search(row[None], 9)[0]] == sorted(ids)
    gallery.remove(as_ids(ids[:2]))
    assert [hit.template_id for hit in gallery.search(row[None], 9)[0]] == [-(2**63)]


@pytest.mark.parametrize("kind", ["random", "clusters", "near ties", "duplicates", "one large number"])
def test_the_best_are_those_of_brute_force_at_full_dimension(
    make: Make, kind: str, request: pytest.FixtureRequest
) -> None:
    # The tests' Milvus is written in Python.
    rows = gallery_rows(kind, 1_000 if request.node.callspec.params["make"] == "milvus" else 4_000, 512)
    gallery = make(512)
    gallery.add(np.arange(len(rows)), rows)
    queries = np.concatenate([rows[:3], gallery_rows("random", 6, 512)])
    for query, found in zip(queries, gallery.search(queries, 20), strict=True):
        agree(found, brute_force(rows, query, 20))
