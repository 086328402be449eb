"""Files are there whole or not at all, also where processes write one at the same time."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from faces.files import write_whole

WRITERS, TIMES, LENGTH = 4, 200, 20_000


def write_often(path: Path, mark: int) -> int:
    """Returns how often the file held something that no writer wrote."""
    torn = 0
    for _ in range(TIMES):
        write_whole(path, bytes([mark]) * LENGTH)
        seen = path.read_bytes()
        torn += len(seen) != LENGTH or len(set(seen)) != 1
    return torn


def test_processes_that_write_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "means.pt"
    with ProcessPoolExecutor(WRITERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(write_often, [path] * WRITERS, range(WRITERS))) == [0] * WRITERS
    assert [each.name for each in tmp_path.iterdir()] == ["means.pt"]


def test_what_a_killed_writer_left_is_used_again(tmp_path: Path) -> None:
    (tmp_path / "facts.json.partial").write_bytes(b"a longer beginning of something")
    write_whole(tmp_path / "facts.json", b"whole")
    assert (tmp_path / "facts.json").read_bytes() == b"whole"
    assert [each.name for each in tmp_path.iterdir()] == ["facts.json"]


def test_a_file_that_cannot_be_replaced_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "there", b"")
