"""Rows in a file: what they give back, what lies on the disk, and what a removal leaves."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from service.gallery import rows as rows_module
from service.gallery.exact import ExactGallery
from service.gallery.rows import RowsLost, SealedRows
from tests.service.gallery.vectors import Floats, spread

DIMENSION = 64


def some(count: int, first: int = 0) -> Floats:
    return np.stack([spread(first + i, DIMENSION) for i in range(count)])


def places(*values: int) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    return np.array(values, np.intp)


def on_disk(held: SealedRows) -> bytes:
    return os.pread(held._descriptor, 1 << 20, 0)


def test_rows_come_back_bit_for_bit_whatever_their_layout(tmp_path: Path) -> None:
    held, rows = SealedRows(1500, DIMENSION, tmp_path), some(1100)
    held.write(3, np.asfortranarray(rows))
    assert np.array_equal(held.read(places(3, 1102, 3, 600)), rows[[0, 1099, 0, 597]])
    assert held.read(places()).shape == (0, DIMENSION)


def test_the_file_has_no_name_and_shows_no_row(tmp_path: Path) -> None:
    held, rows = SealedRows(8, DIMENSION, tmp_path), some(8)
    held.write(0, rows)
    assert list(tmp_path.iterdir()) == []
    assert os.fstat(held._descriptor).st_nlink == 0
    assert all(row.tobytes()[at : at + 16] not in on_disk(held) for row in rows for at in range(0, 240, 16))
    # The same row twice is not the same bytes.
    held.write(1, rows[:1])
    length = 4 * DIMENSION + 16
    assert on_disk(held)[:length] != on_disk(held)[length : 2 * length]


def test_a_wiped_row_opens_for_nobody_and_its_neighbours_do(tmp_path: Path) -> None:
    held, rows = SealedRows(8, DIMENSION, tmp_path), some(8)
    held.write(0, rows)
    held.wipe(places(2, 5))
    held.wipe(slice(6, 8))
    assert not held._keys[[2, 5, 6, 7]].any()
    for gone in (2, 5, 6, 7):
        with pytest.raises(RowsLost):
            held.read(places(gone))
    assert np.array_equal(held.read(places(0, 1, 3, 4)), rows[[0, 1, 3, 4]])


def test_a_row_that_was_changed_or_cut_on_the_disk_is_an_error_and_no_score(tmp_path: Path) -> None:
    gallery = ExactGallery(DIMENSION, rows=lambda size, dimension: SealedRows(size, dimension, tmp_path))
    rows = some(4)
    gallery.add(np.arange(4), rows)
    (block,) = gallery._readers.view.blocks
    assert isinstance(block._rows, SealedRows)
    os.pwrite(block._rows._descriptor, b"\xff", 70)
    with pytest.raises(RowsLost, match="cannot read its rows"):
        gallery.search(rows[:1], 4)
    os.ftruncate(block._rows._descriptor, 300)
    with pytest.raises(RowsLost, match="cannot read its rows"):
        gallery.search(rows[3:], 4)
    assert gallery.damaged
    assert not gallery.empty().damaged


def test_a_full_disk_keeps_rows_in_memory_and_removals_still_end_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, rows = SealedRows(700, DIMENSION, tmp_path), some(700)
    held.write(0, rows[:10])

    def full(_descriptor: int, _data: bytes, _offset: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(rows_module, "_write_at", full)
    held.write(10, rows[10:])
    assert np.array_equal(held.read(np.arange(700)), rows)
    held.wipe(places(11))
    held.wipe(slice(20, 40))
    assert len(held._kept) == 690 - 21
    with pytest.raises(RowsLost):
        held.read(places(11))
    monkeypatch.undo()
    held.write(10, rows[:5])
    assert np.array_equal(held.read(places(10, 14, 15)), rows[[0, 4, 15]])


def test_without_a_place_for_the_file_rows_stay_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    held, rows = SealedRows(8, DIMENSION, tmp_path / "file"), some(8)
    held.write(0, rows)
    held.wipe(places(1))
    assert np.array_equal(held.read(places(0, 7)), rows[[0, 7]])
    with pytest.raises(RowsLost):
        held.read(places(1))
