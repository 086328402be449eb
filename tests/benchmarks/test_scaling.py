"""Tests the arithmetic and the simulation of `benchmarks/scaling.py` against what is known in closed form."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from benchmarks.scaling import (
    Z99,
    Assumed,
    Measured,
    plan,
    pool_for,
    replicas_for,
    search_ms,
    shards_for,
    simulate,
    spread,
    through_pool,
    through_shard,
)


def test_a_search_on_the_measured_machine_takes_what_was_measured() -> None:
    alike = Assumed(cores=2, efficiency=1.0)
    assert search_ms(Measured(), alike, 1e6, 1) == pytest.approx(19.7)
    assert search_ms(Measured(), alike, 1e6, 32) == pytest.approx(186)
    assert search_ms(Measured(), alike, 5e6, 1) == pytest.approx(5 * 19.7)


@pytest.mark.parametrize("load", [0.3, 0.8])
def test_one_shard_without_batches_waits_as_queueing_theory_says(load: float) -> None:
    """M/D/1: the mean wait is load / (2 (1 - load)) service times (Pollaczek and Khinchine)."""
    rng = np.random.default_rng(5)
    count, takes = 300_000, 10.0
    arrivals = np.cumsum(rng.exponential(takes / load, count))
    done, busy = through_shard(arrivals, np.array([takes]), np.ones(count))
    assert float((done - arrivals).mean()) - takes == pytest.approx(takes * load / (2 * (1 - load)), rel=0.05)
    assert busy / done[-1] == pytest.approx(load, rel=0.02)


def test_a_free_shard_takes_what_waits_and_no_more_than_a_batch() -> None:
    arrivals = np.array([0.0, 1.0, 2.0, 3.0, 50.0])
    done, busy = through_shard(arrivals, np.array([10.0, 12.0]), np.ones(5))
    assert done.tolist() == [10.0, 22.0, 22.0, 32.0, 60.0]
    assert busy == 42.0


def test_a_pool_gives_each_probe_the_server_that_is_free_first() -> None:
    arrivals, service = np.array([0.0, 0.0, 1.0, 2.0]), np.array([5.0, 3.0, 4.0, 1.0])
    assert through_pool(arrivals, service, 2).tolist() == [5.0, 3.0, 7.0, 6.0]


def test_the_slowest_of_many_shards_decides() -> None:
    """Without queues the answer's quantile is that of the largest of n log-normal times."""
    measured = Measured(service_photos_s=1e6)
    assumed = Assumed(cores=2, efficiency=1.0, hop_ms=0.0)
    taken, _ = simulate(measured, assumed, templates=4e7, probes_s=0.01, pool=1, shards=40, count=20_000)
    sigma = math.log(measured.photo_p99_ms / measured.photo_ms) / Z99
    for share in (0.5, 0.99):
        expected = 19.7 * math.exp(sigma * NormalDist().inv_cdf(share ** (1 / 40)))
        assert np.quantile(taken, share) == pytest.approx(expected, rel=0.01)


def test_the_spread_is_the_measured_one() -> None:
    drawn = spread(np.random.default_rng(1), Measured(), 400_000)
    assert np.quantile(drawn, 0.5) == pytest.approx(1, rel=0.005)
    assert np.quantile(drawn, 0.99) == pytest.approx(37.2 / 29.0, rel=0.01)


def test_machines_are_enough_and_one_fewer_is_not() -> None:
    measured, assumed = Measured(), Assumed()
    shards = shards_for(measured, assumed, 1e8, 1000)
    for count, enough in ((shards, True), (shards - 1, False)):
        full = assumed.batch * 1000 / search_ms(measured, assumed, 1e8 / count, assumed.batch)
        assert (1000 / full <= assumed.load) is enough
    # 41.5 probes a second for two hyperthreads, eight times that for 16, of which .6 are planned with.
    assert pool_for(measured, assumed, 1000) == math.ceil(1000 / (41.5 * 8 * 0.6)) == 6
    # Few probes: memory decides.
    assert shards_for(measured, Assumed(memory_gb=8), 1e7, 0.1) == math.ceil(
        1e7 * 708 / (6.4e9 - 600 * 2**20)
    )


def test_a_plan_adds_up() -> None:
    one = plan(Measured(sample_bytes=10_000.0), Assumed(price_core_hour=0.5), 1e6, 10, count=2000)
    assert (one.pool_machines, one.shards) == (1, 1)
    assert one.shards_price_hour == 2 * 16 * 0.5
    assert one.database_gb == 10
    assert one.sealed_gb == pytest.approx(2.064)
    assert one.memory_gb_a_shard == one.memory_gb_a_replica == pytest.approx(0.708 + 600 * 2**20 / 1e9)
    assert 24 < one.p50_ms < one.p99_ms < 60
    assert one.busiest_shard < 0.6
    assert one.replica_fits
    assert not plan(Measured(), Assumed(), 1e8, 0.1, count=100).replica_fits
    # A probe takes 1 / (41.5 * 8) s to describe and 186 / 32 / 5.6 ms to search, of .6 of each second.
    assert replicas_for(Measured(), Assumed(), 1e6, 1000) == math.ceil((3.0120 + 1.0379) / 0.6) == 7
