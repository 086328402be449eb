"""Tests what the embedded gallery keeps in memory, and its bounds; its answers are in test_contract.py."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.gallery.blocks import Block
from service.gallery.exact import ExactGallery
from service.gallery.first_pass import CodedQueries, coded
from service.gallery.rows import RowsInMemory
from tests.service.gallery.oracle import DIMENSION, VECTORS, Oracle, agree, as_ids
from tests.service.gallery.vectors import Floats, spread

# Small, so that blocks fill, empty and move.
BLOCK_ROWS = 64


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
