"""Compares the gallery with a brute-force float64 gallery on the same operations."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numpy.typing import NDArray

from service.gallery.base import Hit
from service.gallery.blocks import Block
from service.gallery.exact import ExactGallery, MakeRows
from service.gallery.first_pass import CodedQueries, coded
from service.gallery.rows import RowsInMemory, SealedRows
from tests.service.gallery.vectors import Floats, few_values, nudged, spread

SCORE_TOLERANCE = 1e-12


class Oracle:
    """The expected gallery: exactly rounded sums over a plain dictionary."""

    def __init__(self) -> None:
        self.vectors: dict[int, Floats] = {}

    def search(self, query: Floats, k: int) -> list[tuple[int, float]]:
        exact = query.astype(np.float64)
        scored = [(i, math.fsum(v.astype(np.float64) * exact)) for i, v in self.vectors.items()]
        return sorted(scored, key=lambda hit: (-hit[1], hit[0]))[:k]


def as_ids(values: list[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def agree(found: list[Hit], expected: list[tuple[int, float]]) -> None:
    assert [hit.template_id for hit in found] == [i for i, _ in expected]
    for hit, (_, score) in zip(found, expected, strict=True):
        assert abs(hit.score - max(-1.0, min(1.0, score))) <= SCORE_TOLERANCE


DIMENSION = 16
# Small, so that blocks fill, empty and move.
BLOCK_ROWS = 64
IDS = st.integers(-3, 30)
# Few seeds, so that duplicates and ties are the rule; `nudged` differs by less than float32 scores tell.
VECTORS = st.one_of(
    st.integers(0, 5).map(lambda seed: spread(seed, DIMENSION)),
    st.integers(0, 9).map(lambda seed: few_values(seed, DIMENSION)),
    st.tuples(st.integers(0, 2), st.integers(0, 30)).map(lambda pair: nudged(*pair, DIMENSION)),
)


class Congruence(RuleBasedStateMachine):
    """After any sequence of operations both galleries give the same results."""

    make_rows: MakeRows = RowsInMemory

    @initialize()
    def empty(self) -> None:
        made = type(self).make_rows
        self.gallery, self.oracle = ExactGallery(DIMENSION, block_rows=BLOCK_ROWS, rows=made), Oracle()

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


def in_a_file(size: int, dimension: int) -> SealedRows:
    return SealedRows(size, dimension, Path(tempfile.gettempdir()))


class SealedCongruence(Congruence):
    """The same with rows that lie in files."""

    make_rows = staticmethod(in_a_file)


TestCongruence, TestSealedCongruence = Congruence.TestCase, SealedCongruence.TestCase
TestCongruence.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestSealedCongruence.settings = settings(TestCongruence.settings, max_examples=20)


def test_scores_closer_than_float32_resolves_are_sorted_at_full_size() -> None:
    gallery, oracle = ExactGallery(256), Oracle()
    oracle.vectors = {i: nudged(i % 7, i, 256) for i in range(3000)}
    gallery.add(as_ids(list(oracle.vectors)), np.stack(list(oracle.vectors.values())))
    queries = np.stack([spread(seed, 256) for seed in range(40)])
    for query, found in zip(queries, gallery.search(queries, 50), strict=True):
        agree(found, oracle.search(query, 50))


@pytest.mark.parametrize("left", [0, 1, 3, 200])
def test_a_gallery_that_grew_and_shrank_keeps_ids_and_vectors_together(left: int) -> None:
    gallery, oracle = ExactGallery(DIMENSION, block_rows=BLOCK_ROWS), Oracle()
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


def test_a_result_depends_neither_on_the_batch_nor_on_the_order_of_rows() -> None:
    rows = {i: nudged(0, i, 64) for i in range(200)}
    queries = np.stack([spread(seed, 64) for seed in range(33)])
    answers = []
    for order in (list(rows), list(reversed(rows))):
        gallery = ExactGallery(64)
        gallery.add(as_ids(order), np.stack([rows[i] for i in order]))
        answers.append(gallery.search(queries, 10))
        answers.append([gallery.search(query[None], 10)[0] for query in queries])
    assert answers[0] == answers[1] == answers[2] == answers[3]


def test_ties_are_sorted_by_id_even_if_k_cuts_through_them() -> None:
    gallery = ExactGallery(8)
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
    ids: NDArray[Any], vectors: Floats, told: str
) -> None:
    gallery = ExactGallery(8)
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
def test_an_invalid_query_is_refused(queries: Floats, k: int, filled: bool) -> None:
    gallery = ExactGallery(8)
    if filled:
        gallery.add(as_ids([1]), few_values(1, 8)[None])
    with pytest.raises(ValueError, match="expected float32"):
        gallery.search(queries, k)


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.5])
def test_a_query_without_bounds_is_refused_and_fails_no_other(value: float) -> None:
    with pytest.raises(ValueError, match="longer than 1 or not finite"):
        ExactGallery(8).search(np.full((1, 8), value, np.float32), 1)


@pytest.mark.parametrize("dimension", [1, 2, 128])
def test_the_layout_of_arrays_in_memory_changes_no_answer(dimension: int) -> None:
    rows = np.stack([spread(seed, dimension) for seed in range(90)])
    queries, wide = rows[:7], np.zeros((14, 2 * dimension), np.float32)
    wide[::2, ::2] = queries
    gallery = ExactGallery(dimension, block_rows=BLOCK_ROWS)
    gallery.add(np.arange(90), rows)
    expected = gallery.search(queries, 5)
    read_only = np.frombuffer(queries.tobytes(), np.float32).reshape(queries.shape)
    for same in (np.asfortranarray(queries), wide[::2, ::2], queries[:, ::-1].copy()[:, ::-1], read_only):
        assert gallery.search(same, 5) == expected
    other = ExactGallery(dimension, block_rows=BLOCK_ROWS)
    other.add(np.arange(90), np.asfortranarray(rows))
    assert other.search(queries, 5) == expected


def test_ids_reach_from_the_least_int64_to_the_largest() -> None:
    gallery, row = ExactGallery(8), few_values(0, 8)
    ids = [2**63 - 1, 0, -(2**63)]
    gallery.add(as_ids(ids), np.stack([row] * 3))
    assert [hit.template_id for hit in gallery.search(row[None], 9)[0]] == sorted(ids)
    gallery.remove(as_ids(ids[:2]))
    assert [hit.template_id for hit in gallery.search(row[None], 9)[0]] == [-(2**63)]


def test_the_storage_keeps_no_removed_or_replaced_template() -> None:
    gallery = ExactGallery(8)
    rows = np.stack([spread(seed, 8) for seed in range(6)])
    gallery.add(as_ids([0, 1, 2, 3, 4, 5]), rows)
    gallery.remove(as_ids([0, 5]))
    gallery.add(as_ids([2]), spread(50, 8)[None])
    stored = np.concatenate([in_memory(block) for block in blocks_of(gallery)])
    for gone in (0, 5, 2):
        assert not (stored == rows[gone]).all(axis=1).any()
    for kept in (1, 3, 4):
        assert (stored == rows[kept]).all(axis=1).sum() == 1
    assert np.count_nonzero(stored.any(axis=1)) == gallery.size
    assert (
        sum(int(np.count_nonzero(block._codes.any(axis=1))) for block in blocks_of(gallery)) == gallery.size
    )


def in_memory(block: Block) -> Floats:
    assert isinstance(block._rows, RowsInMemory)
    return block._rows._rows


def blocks_of(gallery: ExactGallery) -> tuple[Block, ...]:
    return gallery._readers.view.blocks


def test_replacing_and_removing_for_ever_takes_no_more_memory() -> None:
    gallery, oracle = ExactGallery(DIMENSION, block_rows=BLOCK_ROWS), Oracle()
    for change in range(400):
        rows = {i: spread(100 * change + i, DIMENSION) for i in range(change % 3, 40)}
        gallery.add(as_ids(list(rows)), np.stack(list(rows.values())))
        oracle.vectors.update(rows)
        gallery.remove(as_ids([change % 40]))
        oracle.vectors.pop(change % 40, None)
        assert len(blocks_of(gallery)) <= 4
    query = spread(3, DIMENSION)
    agree(gallery.search(query[None], 7)[0], oracle.search(query, 7))


def test_a_change_that_finds_no_memory_changes_nothing_and_leaves_no_vector() -> None:
    # A second block of so many rows is more than the address space holds.
    gallery, oracle = ExactGallery(8, block_rows=BLOCK_ROWS), Oracle()
    oracle.vectors = {i: spread(i, 8) for i in range(40)}
    gallery.add(np.arange(40), np.stack(list(oracle.vectors.values())))
    gallery._block_rows = 1 << 58
    fresh = {i: spread(1000 + i, 8) for i in range(30, 90)}
    with pytest.raises((MemoryError, ValueError)):
        gallery.add(as_ids(list(fresh)), np.stack(list(fresh.values())))
    gallery._block_rows = BLOCK_ROWS
    (block,) = blocks_of(gallery)
    assert np.count_nonzero(in_memory(block).any(axis=1)) == np.count_nonzero(block._codes.any(axis=1)) == 40
    assert gallery.size == block.live == 40
    agree(gallery.search(spread(3, 8)[None], 99)[0], oracle.search(spread(3, 8), 99))


def test_a_change_that_is_interrupted_leaves_the_gallery_whole() -> None:
    gallery, oracle = ExactGallery(8, block_rows=BLOCK_ROWS), Oracle()
    rows = {i: spread(i, 8) for i in range(3 * BLOCK_ROWS)}
    gallery.add(as_ids(list(rows)), np.stack(list(rows.values())))
    oracle.vectors = {i: rows[i] for i in rows if i % 3 == 0 or i >= 2 * BLOCK_ROWS}
    view = gallery._readers.view
    broken = as_ids([i for i in rows if i not in oracle.vectors])
    with pytest.raises(RuntimeError, match="stop"), gallery._change() as change:
        for i in broken.tolist():
            gallery._bury(change, gallery._row_of[i])
            del gallery._row_of[i]
        again = as_ids([0, 1, 500])
        gallery._append(change, again, np.stack([spread(9, 8)] * 3))
        raise RuntimeError("stop")
    assert gallery._readers.view is view
    oracle.vectors = rows
    assert gallery.size == len(rows) == sum(block.live for block in blocks_of(gallery))
    assert set(gallery._block_at) == {0, 1, 2}
    agree(gallery.search(spread(3, 8)[None], 999)[0], oracle.search(spread(3, 8), 999))
    # And goes on as any other.
    gallery.remove(broken)
    for i in broken.tolist():
        del oracle.vectors[i]
    agree(gallery.search(spread(3, 8)[None], 999)[0], oracle.search(spread(3, 8), 999))


@pytest.mark.parametrize("how", ["moved", "cleared"])
def test_no_vector_is_left_in_a_block_that_was_given_up(how: str) -> None:
    gallery = ExactGallery(8, block_rows=BLOCK_ROWS)
    rows = np.stack([spread(seed, 8) for seed in range(BLOCK_ROWS)])
    gallery.add(np.arange(BLOCK_ROWS), rows)
    (old,) = blocks_of(gallery)
    with gallery._readers.reading():
        gallery.remove(np.arange(40) if how == "moved" else np.arange(9))
        if how == "cleared":
            gallery.clear()
        assert all(block is not old for block in blocks_of(gallery))
        assert (in_memory(old) == rows).all()
    erased = slice(0, BLOCK_ROWS if how == "moved" else 9)
    assert not in_memory(old)[erased].any()
    assert not old._codes[erased].any()


def brute_force(rows: Floats, query: Floats, k: int) -> list[tuple[int, float]]:
    scores = rows.astype(np.float64) @ query.astype(np.float64)
    order = np.lexsort((np.arange(len(rows)), -scores))[:k]
    return [(int(i), float(scores[i])) for i in order]


def unit(rows: NDArray[np.float64]) -> Floats:
    made: Floats = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
    return made


def gallery_rows(kind: str, count: int, dimension: int) -> Floats:
    rng = np.random.default_rng(5)
    match kind:
        case "random":
            return unit(rng.standard_normal((count, dimension)))
        case "clusters":
            centres = rng.standard_normal((40, dimension))
            return unit(centres[rng.integers(0, 40, count)] + 0.15 * rng.standard_normal((count, dimension)))
        case "near ties":
            return unit(rng.standard_normal(dimension) + 1e-6 * rng.standard_normal((count, dimension)))
        case "duplicates":
            return unit(rng.standard_normal((9, dimension)))[rng.integers(0, 9, count)]
        case _:
            # One number holds nearly all, so that the codes of the others are coarse.
            return unit(rng.standard_normal((count, dimension)) * np.r_[300.0, np.ones(dimension - 1)])


@pytest.mark.parametrize("make_rows", [RowsInMemory, in_a_file])
@pytest.mark.parametrize("kind", ["random", "clusters", "near ties", "duplicates", "one large number"])
def test_the_best_are_those_of_brute_force_at_full_dimension(kind: str, make_rows: MakeRows) -> None:
    rows = gallery_rows(kind, 12_000, 512)
    gallery = ExactGallery(512, block_rows=5000, rows=make_rows)
    gallery.add(np.arange(len(rows)), rows)
    queries = np.concatenate([rows[:3], gallery_rows("random", 6, 512)])
    for query, found in zip(queries, gallery.search(queries, 20), strict=True):
        agree(found, brute_force(rows, query, 20))


@given(
    rows=st.lists(VECTORS, min_size=1, max_size=9),
    queries=st.lists(VECTORS, min_size=1, max_size=3),
    stretch=st.sampled_from([0.0, 1e-30, 1e-3, 0.99, 1.0]),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_every_score_lies_within_its_bounds(
    rows: list[Floats], queries: list[Floats], stretch: float
) -> None:
    held, asked = np.stack(rows) * np.float32(stretch), np.stack(queries)
    lower, width = CodedQueries(asked).bounds(coded(held))
    exact = held.astype(np.float64) @ asked.astype(np.float64).T
    assert (lower <= exact).all()
    assert (exact <= lower + width).all()
    # Bounds that say nothing would find everything.
    assert (width < 0.1).all()


def test_dimensions_whose_sums_are_not_exact_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 1040 dimensions, not 1041"):
        ExactGallery(1041)
    sums = np.full((1, 1040), 1 / math.sqrt(1040), np.float32)
    gallery = ExactGallery(1040)
    gallery.add(as_ids([7]), sums)
    (hit,) = gallery.search(sums, 1)[0]
    assert hit.template_id == 7
    assert hit.score == pytest.approx(1.0, abs=1e-6)
