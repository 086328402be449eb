"""Tests rank-1 by hand and by brute force, and paired differences of systems."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faces.rates import metrics
from faces.rates.intervals import Interval, subject_bootstrap
from faces.rates.rank1 import (
    NEVER,
    Seeds,
    SubjectCounts,
    cmc,
    counts_at_rank,
    paired_difference,
    ranks,
    success_rate,
    sum_runs,
)
from faces.rates.scores import Comparison
from tests.faces.rates.sides import noisy, side

AXES = np.eye(4)


def counts(found: list[int], *, of: int = 4) -> SubjectCounts:
    count = len(found)
    return SubjectCounts(np.arange(count), np.array(found), np.full(count, of))


def test_a_tie_is_a_miss_and_an_identity_scores_as_its_best_reference() -> None:
    gallery = side(np.array([AXES[0], AXES[1], AXES[1], AXES[2]]), [10, 20, 30, 10], of="g")
    probes = side(np.array([AXES[0], AXES[1], AXES[2] + 0.1 * AXES[1], AXES[2]]), [10, 20, 10, 30], of="p")
    # Subject 30's photo equals subject 20's, so the second probe is level with another identity.
    assert ranks(Comparison(probes, gallery)).tolist() == [1, 2, 1, 3]


def test_failed_samples_stay_in_the_denominator() -> None:
    gallery = side(AXES[:2], [1, 2], of="g", failed=(3,))
    probes = side(np.array([AXES[0], AXES[1], AXES[2]]), [1, 2, 3], of="p", failed=(1, 2))
    comparison = Comparison(probes, gallery)
    assert ranks(comparison).tolist() == [1, 1, NEVER]
    found = counts_at_rank(comparison)
    assert found.subjects.tolist() == [1, 2, 3]
    assert found.successes.tolist() == [1, 1, 0]
    assert found.probes.tolist() == [2, 2, 1]
    assert found.rate == 0.4
    assert cmc(comparison, max_rank=3).tolist() == [0.4, 0.4, 0.4]


def test_rank_1_is_zero_if_every_probe_failed() -> None:
    nothing = side(np.empty((0, 4)), [], of="p", failed=(1, 1))
    assert counts_at_rank(Comparison(nothing, side(AXES[:2], [1, 2], of="g"))).rate == 0.0


def test_a_probe_of_a_subject_outside_the_gallery_is_refused() -> None:
    with pytest.raises(ValueError, match="1 are not"):
        ranks(Comparison(side(AXES[:2], [1, 5], of="p"), side(AXES[:2], [1, 2], of="g")))


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3))
def test_ranks_agree_with_rank_k(seed: int, k: int, each: int, references: int) -> None:
    comparison = noisy(7, each=each, noise=1.2, seed=seed, dimension=4, references=references)
    expected = metrics.rank_k(comparison.scores, comparison.probes.subjects, comparison.gallery.subjects, k=k)
    assert counts_at_rank(comparison, rank=k).rate == pytest.approx(expected)
    assert cmc(comparison, max_rank=7)[k - 1] == pytest.approx(expected)


def test_the_interval_is_that_of_the_plain_subject_bootstrap() -> None:
    found = counts([4, 0, 3, 4, 1, 2, 4, 4] * 5)
    ours = success_rate(found, bootstraps=4000)

    def rate(counts: np.ndarray) -> float:
        return float((counts @ found.successes) / (counts @ found.probes))

    plain = subject_bootstrap(rate, len(found.subjects), repeats=4000, seed=9)
    assert ours.value == plain.value == found.rate
    assert ours.low == pytest.approx(plain.low, abs=0.01)
    assert ours.high == pytest.approx(plain.high, abs=0.01)


@pytest.mark.parametrize("seeds", ["fixed", "paired"])
def test_a_system_differs_from_itself_by_exactly_zero(seeds: Seeds) -> None:
    runs = [counts([1, 2, 3, 4]), counts([0, 2, 4, 4])]
    assert paired_difference(runs, runs, seeds=seeds) == Interval(0.0, 0.0, 0.0)


def test_a_strictly_better_system_excludes_zero() -> None:
    better, worse = counts([4, 3, 4, 2] * 10), counts([3, 2, 3, 1] * 10)
    gap = paired_difference(better, worse)
    assert gap == Interval(25.0, 25.0, 25.0)
    back = paired_difference(worse, counts([4, 3, 4, 1] * 10))
    assert back.value == pytest.approx(-18.75)
    assert back.high < 0


def test_a_paired_interval_is_narrower_than_two_separate_ones() -> None:
    rng = np.random.default_rng(3)
    base = rng.integers(0, 4, 200)
    a, b = counts((base + (rng.random(200) < 0.2)).tolist()), counts(base.tolist())
    gap = paired_difference(a, b)
    alone = success_rate(a)
    assert gap.low > 0
    assert gap.high - gap.low < 100 * (alone.high - alone.low) / 2


def test_seeds_are_summed_and_may_be_resampled_too() -> None:
    good, bad, base = counts([4, 4, 4, 4]), counts([1, 1, 1, 1]), counts([2, 2, 2, 2])
    assert sum_runs([good, bad]).successes.tolist() == [5, 5, 5, 5]
    assert sum_runs([good, bad]).probes.tolist() == [8, 8, 8, 8]
    fixed = paired_difference([good, bad], base)
    assert fixed == Interval(12.5, 12.5, 12.5)
    drawn = paired_difference([good, bad], base, seeds="independent")
    # Two runs drawn twice: both good, one of each, or both bad.
    assert (drawn.low, drawn.value, drawn.high) == (-25.0, 12.5, 50.0)
    with pytest.raises(ValueError, match="as many runs"):
        paired_difference([good, bad], base, seeds="paired")


def test_results_on_different_probes_are_not_paired() -> None:
    with pytest.raises(ValueError, match="different probes"):
        paired_difference(counts([1, 2]), counts([1, 2], of=5))
    with pytest.raises(ValueError, match="at least one run"):
        paired_difference([], counts([1]))


def test_impossible_counts_are_refused() -> None:
    for subjects, found, probes in (([1, 1], [0, 0], [1, 1]), ([1, 2], [2, 0], [1, 1]), ([1], [0], [0])):
        with pytest.raises(ValueError):
            SubjectCounts(np.array(subjects), np.array(found), np.array(probes))
