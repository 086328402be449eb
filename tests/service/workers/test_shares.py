"""Tests what each of several workers may take, and which settings only one process can serve."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.settings import Settings
from service.workers.shares import cores_of_each, of_worker, refused

MIB = 1 << 20


def test_one_worker_keeps_every_setting() -> None:
    settings = Settings(intra_op_threads=3)
    assert of_worker(settings, 0) is settings


@pytest.mark.parametrize("workers", [2, 3, 4, 64])
def test_workers_together_take_what_the_settings_say(workers: int) -> None:
    whole = Settings(
        workers=workers,
        decode_workers=64,
        max_requests=128,
        max_connections=640,
        max_event_streams=0,
        max_body_memory_bytes=64 * 200 * MIB,
        max_work_pixels=64 * 60_000_000,
    )
    parts = [of_worker(whole, index) for index in range(workers)]
    each = parts[1]
    assert workers * each.decode_workers <= 64
    assert sum(part.max_requests for part in parts) == 128
    assert sum(part.max_connections for part in parts) == 640
    assert max(part.max_requests for part in parts) - min(part.max_requests for part in parts) <= 1
    assert each.max_event_streams == 0
    assert workers * each.max_body_memory_bytes <= whole.max_body_memory_bytes
    assert workers * each.max_work_pixels <= whole.max_work_pixels
    # All workers count these together, so that a caller with one connection gets all of its rate.
    for name in ("rate_limit_per_s", "rate_limit_burst", "failed_logins_per_s", "failed_logins_burst"):
        assert getattr(each, name) == getattr(whole, name)


def test_a_worker_still_takes_the_largest_body_and_photo() -> None:
    each = of_worker(Settings(workers=64), 5)
    assert each.max_body_memory_bytes == each.max_body_bytes
    assert each.max_work_pixels == each.max_image_pixels
    assert each.decode_workers == 1


def test_threads_are_the_cores_divided_unless_the_settings_say_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert [cores_of_each(n) for n in (1, 2, 3, 5, 16, 64)] == [16, 8, 5, 3, 1, 1]
    assert of_worker(Settings(workers=3), 0).intra_op_threads == 5
    assert of_worker(Settings(workers=3, intra_op_threads=2), 0).intra_op_threads == 2


def test_the_first_worker_alone_runs_jobs_where_the_process_may() -> None:
    assert [of_worker(Settings(workers=3), n).run_jobs for n in range(3)] == [True, False, False]
    assert not of_worker(Settings(workers=3, run_jobs=False), 0).run_jobs


def test_doors_need_one_worker() -> None:
    doors = Path("doors.toml")
    assert refused(Settings(doors_file=doors)) is None
    assert refused(Settings(workers=2)) is None
    why = refused(Settings(workers=2, doors_file=doors))
    assert why is not None
    assert "HALFLIGHT_WORKERS=1" in why


@pytest.mark.parametrize("name", ["max_requests", "max_event_streams", "max_connections"])
def test_a_limit_leaves_a_place_for_every_worker(name: str) -> None:
    assert refused(Settings.model_validate({"workers": 3, name: 3})) is None
    why = refused(Settings.model_validate({"workers": 3, name: 2}))
    assert why is not None
    assert f"HALFLIGHT_{name.upper()}=2" in why
    # One worker takes any.
    assert refused(Settings.model_validate({name: 1})) is None
