"""Tests metrics and intervals against definitions written out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import gamma  # type: ignore[import-untyped]

from faces.rates import metrics
from faces.rates.intervals import clopper_pearson, poisson_upper, subject_bootstrap

SCORES = st.lists(st.integers(-20, 20).map(lambda v: v / 20), min_size=1, max_size=60).map(np.array)


@given(SCORES, st.integers(-20, 20).map(lambda v: v / 20))
def test_fmr_and_fnmr_are_shares_and_a_score_at_the_threshold_is_accepted(
    scores: np.ndarray, limit: float
) -> None:
    assert metrics.fmr(scores, limit) == pytest.approx(sum(s >= limit for s in scores) / len(scores))
    assert metrics.fnmr(scores, limit) == pytest.approx(sum(s < limit for s in scores) / len(scores))


def test_failed_probes_count_as_rejected() -> None:
    assert metrics.fnmr(np.array([0.9, 0.1]), 0.5, failed=2) == 0.75


@given(SCORES, st.floats(0.001, 0.999))
def test_the_threshold_is_the_smallest_that_keeps_the_fmr(scores: np.ndarray, target: float) -> None:
    threshold = metrics.threshold_at_fmr(scores, target)
    assert metrics.fmr(scores, threshold) <= target + 1e-9
    lower = [s for s in scores if s < threshold]
    if lower:
        assert metrics.fmr(scores, max(lower)) > target


@given(SCORES, SCORES)
def test_the_det_curve_has_every_operating_point(mated: np.ndarray, non_mated: np.ndarray) -> None:
    curve = metrics.det_curve(mated, non_mated)
    assert set(curve.thresholds) == {*mated, *non_mated}
    for threshold, fmr, fnmr in zip(curve.thresholds, curve.fmr, curve.fnmr, strict=True):
        assert fmr == pytest.approx(metrics.fmr(non_mated, threshold))
        assert fnmr == pytest.approx(metrics.fnmr(mated, threshold))


def test_tar_at_fmr_agrees_with_a_count_by_hand() -> None:
    non_mated = np.arange(100) / 100
    mated = np.array([0.995, 0.985, 0.97, 0.5])
    assert metrics.tar_at_fmr(mated, non_mated, 0.01) == 0.5
    assert metrics.tar_at_fmr(mated, non_mated, 0.5) == 1.0


@st.composite
def searches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    gallery = np.array(draw(st.lists(st.integers(0, 4), min_size=2, max_size=8)))
    probes = np.array(draw(st.lists(st.sampled_from(gallery.tolist()), min_size=1, max_size=6)))
    cells = len(gallery) * len(probes)
    scores = draw(st.lists(st.integers(0, 4), min_size=cells, max_size=cells))
    return np.array(scores, float).reshape(len(probes), -1), probes, gallery


@given(searches(), st.integers(1, 4))
def test_rank_k_counts_identities_and_a_tie_is_a_miss(
    search: tuple[np.ndarray, np.ndarray, np.ndarray], k: int
) -> None:
    scores, probes, gallery = search
    hits = 0
    for row, probe in zip(scores, probes, strict=True):
        best = {int(identity): row[gallery == identity].max() for identity in gallery}
        others = [score for identity, score in best.items() if identity != probe]
        hits += sum(score >= best[int(probe)] for score in others) < k
    assert metrics.rank_k(scores, probes, gallery, k=k) == pytest.approx(hits / len(probes))


def test_the_expected_rank_counts_a_tie_as_a_chance() -> None:
    scores = np.array([[0.5, 0.5, 0.5, 0.1]])
    ids, probe = np.array([1, 2, 3, 4]), np.array([1])
    assert metrics.rank_k(scores, probe, ids, ties="expected") == pytest.approx(1 / 3)
    assert metrics.rank_k(scores, probe, ids) == 0.0
    with pytest.raises(ValueError, match="closed-set"):
        metrics.rank_k(scores, np.array([9]), ids)


def test_open_set_rates_agree_with_a_count_by_hand() -> None:
    gallery = np.array([1, 2, 3])
    probes = np.array([1, 2, 3, 8, 9])
    scores = np.array([[0.9, 0.1, 0.1], [0.8, 0.7, 0.1], [0.1, 0.1, 0.4], [0.6, 0.1, 0.1], [0.1, 0.1, 0.2]])
    rates = metrics.open_set(scores, probes, gallery, 0.5)
    assert rates.fpir == 0.5
    assert rates.fnir == pytest.approx(2 / 3)
    assert metrics.open_set(scores, probes, gallery, 0.5, rank=2).fnir == pytest.approx(1 / 3)
    assert metrics.open_set(scores, probes, gallery, 0.5, rank=2, failed_mated=3).fnir == pytest.approx(4 / 6)
    with pytest.raises(ValueError, match="with and without"):
        metrics.open_set(scores[:3], probes[:3], gallery, 0.5)


def test_the_rule_of_30_needs_the_known_numbers_of_subjects() -> None:
    assert not metrics.supports_fmr(774, 1e-4)
    assert metrics.supports_fmr(776, 1e-4)
    assert not metrics.supports_fmr(245, 1e-3)
    assert metrics.supports_fmr(246, 1e-3)


@pytest.mark.parametrize(("errors", "trials"), [(0, 30), (3, 30), (29, 30), (30, 30), (5, 2000)])
def test_clopper_pearson_solves_the_binomial_tails(errors: int, trials: int) -> None:
    interval = clopper_pearson(errors, trials)

    def at_most(p: float, count: int) -> float:
        return sum(math.comb(trials, i) * p**i * (1 - p) ** (trials - i) for i in range(count + 1))

    assert interval.value == errors / trials
    if errors == 0:
        assert interval.low == 0
        assert interval.high == pytest.approx(1 - 0.025 ** (1 / trials))
    else:
        assert 1 - at_most(interval.low, errors - 1) == pytest.approx(0.025, rel=1e-6)
    if errors == trials:
        assert interval.high == 1
    else:
        assert at_most(interval.high, errors) == pytest.approx(0.025, rel=1e-6)


def test_the_subject_bootstrap_repeats_and_covers_a_known_mean() -> None:
    values = np.random.default_rng(1).normal(5, 1, 400)

    def mean(weights: np.ndarray) -> float:
        return float(np.average(values, weights=weights))

    one, two = subject_bootstrap(mean, 400), subject_bootstrap(mean, 400)
    assert one == two
    assert one.value == pytest.approx(values.mean())
    assert one.high - one.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)


@pytest.mark.parametrize("scores", [np.array([]), np.array([0.1, np.nan])])
def test_missing_and_non_finite_scores_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite"):
        metrics.fmr(scores, 0.5)


def test_open_set_does_not_round_the_threshold_to_float32() -> None:
    """The threshold just above a float32 score rejects it."""
    scores = np.array([[0.3, 0.1], [0.7, 0.2]], np.float32)
    threshold = float(np.nextafter(np.float64(scores[0, 0]), np.inf))
    found = metrics.open_set(scores, np.array([9, 1]), np.array([1, 2]), threshold)
    assert found.fpir == 0.0
    assert found.fnir == 0.0


@pytest.mark.parametrize("count", [0.0, 0.3, 1.0, 7.5, 30.0, 412.0, 64_000.0])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_the_poisson_limit_is_the_quantile_of_the_gamma_distribution(count: float, level: float) -> None:
    assert poisson_upper(count, level=level) == pytest.approx(gamma.ppf(level, count + 1), rel=1e-9)


def test_a_negative_count_has_no_limit() -> None:
    with pytest.raises(ValueError, match="not negative"):
        poisson_upper(-1)
