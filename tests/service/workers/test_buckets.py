"""Tests buckets that real processes share: one rate for all, no lock of a killed one, a bounded number."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from service.access.limits import RateLimiter
from service.errors import RateLimited
from service.workers.buckets import SETS, WAYS, SharedBuckets

BURST = 500
# So few that no test is long enough for one more.
HARDLY = 1e-9
WAIT_S = 60.0
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def buckets() -> Iterator[SharedBuckets]:
    made = SharedBuckets()
    yield made
    made.close()


def admitted(buckets: SharedBuckets, callers: list[str], times: int) -> dict[str, int]:
    """How often each caller gets a token out of so many tries."""
    limiter = RateLimiter(rate_per_s=HARDLY, burst=BURST, buckets=buckets)
    found = dict.fromkeys(callers, 0)
    for _ in range(times):
        for caller in callers:
            try:
                limiter.take(caller)
            except RateLimited:
                continue
            found[caller] += 1
    return found


def tell_admitted(buckets: SharedBuckets, end: Connection) -> None:
    end.recv()
    end.send(admitted(buckets, ["one", "other"], BURST))


def hold(buckets: SharedBuckets, end: Connection) -> None:
    with buckets.held("one") as bucket:
        bucket.tokens = 1e6
        end.send(os.getpid())
        time.sleep(WAIT_S)


def test_processes_together_admit_what_one_would(buckets: SharedBuckets) -> None:
    ends = [SPAWN.Pipe() for _ in range(3)]
    processes = [SPAWN.Process(target=tell_admitted, args=(buckets, theirs)) for _, theirs in ends]
    for process in processes:
        process.start()
    for ours, _ in ends:
        ours.send("go")
    answers = [ours.recv() for ours, _ in ends]
    for process in processes:
        process.join(WAIT_S)
        assert process.exitcode == 0
    # Each of three processes asked as often as all of them together may.
    assert {caller: sum(answer[caller] for answer in answers) for caller in ("one", "other")} == {
        "one": BURST,
        "other": BURST,
    }
    # A process that starts later, as a worker that died does, finds what was taken.
    assert admitted(buckets, ["one", "other", "new"], 1) == {"one": 0, "other": 0, "new": 1}


def test_a_killed_process_leaves_no_lock_and_no_half_change(buckets: SharedBuckets) -> None:
    assert admitted(buckets, ["one"], 1) == {"one": 1}
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=hold, args=(buckets, theirs))
    process.start()
    os.kill(ours.recv(), signal.SIGKILL)
    process.join(WAIT_S)
    assert process.exitcode == -signal.SIGKILL
    assert admitted(buckets, ["one"], BURST) == {"one": BURST - 1}


def test_a_new_caller_takes_the_place_of_who_asked_longest_ago(buckets: SharedBuckets) -> None:
    now = [1.0]
    limiter = RateLimiter(rate_per_s=HARDLY, burst=1, buckets=buckets, clock=lambda: now[0])
    limiter.take("first")
    for number in range(4 * SETS * WAYS):
        now[0] += 1.0
        limiter.take(f"caller {number}")
    for number in range(4 * SETS * WAYS - 1, 4 * SETS * WAYS - 1000, -1):
        with pytest.raises(RateLimited):
            limiter.take(f"caller {number}")
    limiter.take("first")
