"""The set builder: results in order, the same set for any number of workers, errors before any work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from faces.bundle import BundleError
from tests.conftest import REPO
from training.data.prepared import SET_FILE, Refused
from training.data.set_writer import Made
from training.engine.worker_pool import in_order
from training.views.conditions import PHOTO
from training.views.found_faces import SIDE_PX
from training.views.row_facts import RowFacts
from training.views.set_builder import PART_JOBS, ViewAssets, ViewTools, build_set


@dataclass(frozen=True)
class NumberJob:
    """A crop of one grey value; every third photo shows no face."""

    number: int

    def run(self, tools: ViewTools) -> list[Made | Refused]:
        facts = RowFacts(source=f"{self.number}.jpg", subject="one", split="train")
        if self.number % 3 == 2:
            return [facts.refused(PHOTO)]
        return [Made(facts.row(PHOTO), np.full((SIDE_PX, SIDE_PX, 3), self.number, np.uint8))]


def contents(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.iterdir()}


def test_a_set_is_the_same_for_any_number_of_workers(bundle_dir: Path, tmp_path: Path) -> None:
    jobs, assets = [NumberJob(number) for number in range(70)], ViewAssets(bundle=bundle_dir)
    one, two = (
        build_set(jobs, tmp_path / str(workers), assets, name="n", made_by="a test", workers=workers)
        for workers in (1, 2)
    )
    assert contents(one.root) == contents(two.root)
    assert [row.source for row in one.rows] == [f"{n}.jpg" for n in range(70) if n % 3 != 2]
    assert [int(one.crop(i)[0, 0, 0]) for i in range(3)] == [0, 1, 3]
    assert len(one.refused) == 23


CHILD = """
import sys
from pathlib import Path
from tests.training.views.test_set_builder import counted_jobs
from training.views.set_builder import ViewAssets, build_set
place, bundle = Path(sys.argv[1]), Path(sys.argv[2])
jobs = counted_jobs(place)
build_set(jobs, place / "set", ViewAssets(bundle=bundle), name="n", made_by="a test", workers=1)
"""
LIMIT_S = 120.0
COUNT = 50


@dataclass(frozen=True)
class CountedJob:
    """A job that leaves a line in `record` each time it runs; number 40 waits while `stop` exists."""

    number: int
    record: Path
    stop: Path

    def run(self, tools: ViewTools) -> list[Made | Refused]:
        while self.number == 40 and self.stop.exists():
            time.sleep(0.01)
        with self.record.open("a") as stream:
            stream.write(f"{self.number}\n")
        return NumberJob(self.number).run(tools)


def counted_jobs(place: Path) -> list[CountedJob]:
    return [CountedJob(number, place / "record", place / "stop") for number in range(COUNT)]


def test_a_killed_build_goes_on_and_says_how_far_it_is(
    bundle_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, record = tmp_path / "set", tmp_path / "record"
    (tmp_path / "stop").touch()
    command = [sys.executable, "-c", CHILD, str(tmp_path), str(bundle_dir)]
    process = subprocess.Popen(command, cwd=REPO, env={**os.environ, "OMP_NUM_THREADS": "1"})
    end = time.monotonic() + LIMIT_S
    while len(list(out.glob("parts-*/*.npz"))) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert "making the set: 0 of 50" in capfd.readouterr().err
    parts = sorted(out.glob("parts-*/*.npz"))
    assert len(parts) == 2
    assert not (out / SET_FILE).exists()
    record.unlink()
    (tmp_path / "stop").unlink()
    assets = ViewAssets(bundle=bundle_dir)
    made = build_set(counted_jobs(tmp_path), out, assets, name="n", made_by="a test", workers=1)
    # The finished parts are not made again, and a log shows where the build goes on.
    assert {int(n) for n in record.read_text().split()} == set(range(2 * PART_JOBS, COUNT))
    told = capfd.readouterr().err
    assert f"making the set: {2 * PART_JOBS} of 50" in told
    assert "making the set: 50 of 50" in told
    assert [row.source for row in made.rows] == [f"{n}.jpg" for n in range(COUNT) if n % 3 != 2]
    jobs = [NumberJob(number) for number in range(COUNT)]
    whole = build_set(jobs, tmp_path / "whole", assets, name="n", made_by="a test")
    assert contents(whole.root) == contents(out)


def test_a_missing_bundle_is_refused_before_the_old_set_is_touched(tmp_path: Path) -> None:
    out = tmp_path / "set"
    out.mkdir()
    (out / SET_FILE).write_text("an older set")
    assets = ViewAssets(bundle=tmp_path / "none")
    with pytest.raises(BundleError):
        build_set([NumberJob(0)], out, assets, name="n", made_by="a test")
    assert (out / SET_FILE).read_text() == "an older set"


def test_few_items_are_handed_out_ahead_of_the_result_that_is_read() -> None:
    begun: list[int] = []
    lock = threading.Lock()

    def square(item: int) -> int:
        with lock:
            begun.append(item)
        return item * item

    with ThreadPoolExecutor(2) as pool:
        results = in_order(pool, square, range(50), at_once=4)
        assert next(results) == 0
        assert len(begun) <= 4
        assert list(results) == [n * n for n in range(1, 50)]


def test_an_error_of_one_item_is_raised_and_the_rest_is_cancelled() -> None:
    begun: list[int] = []
    release = threading.Event()

    def call(item: int) -> int:
        begun.append(item)
        if item == 0:
            raise ValueError("the first one")
        release.wait(60)
        return item

    with ThreadPoolExecutor(1) as pool:
        results = in_order(pool, call, range(20), at_once=10)
        with pytest.raises(ValueError, match="the first one"):
            next(results)
        release.set()
    assert len(begun) < 10
