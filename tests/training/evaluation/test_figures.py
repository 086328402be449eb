"""Tests VR at FAR against written-out definitions, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faces.rates import metrics
from faces.rates.resampling import weights
from faces.rates.scores import Comparison
from tests.faces.rates.sides import noisy, side
from training.evaluation import verification
from training.evaluation.figures import figures
from training.evaluation.verification import PairScores


def split(comparison: Comparison) -> tuple[np.ndarray, np.ndarray]:
    return comparison.scores[comparison.mated], comparison.scores[~comparison.mated]


@given(st.integers(0, 10_000), st.sampled_from([0.3, 0.05, 0.01, 0.001]))
@settings(max_examples=40, deadline=None)
def test_threshold_and_rate_agree_with_the_metrics(seed: int, fmr: float) -> None:
    comparison = noisy(9, each=2, noise=1.0, seed=seed, references=2, dimension=5)
    mated, non_mated = split(comparison)
    (point,) = PairScores(comparison).measure([fmr], bootstraps=3)
    assert point.threshold == metrics.threshold_at_fmr(non_mated, fmr)
    assert point.tar.value == pytest.approx(metrics.tar_at_fmr(mated, non_mated, fmr))


def test_replicates_equal_a_comparison_built_from_the_drawn_subjects() -> None:
    """Each subject copied as often as drawn; copies of one subject are not compared as strangers."""
    comparison = noisy(6, each=2, noise=1.0, seed=5, references=2, dimension=4)
    (point,) = PairScores(comparison).measure([0.1], bootstraps=60, seed=8)
    rates = []
    for counts in weights(6, bootstraps=60, seed=8):
        good: list[float] = []
        bad: list[float] = []
        for i, probe in enumerate(comparison.probes.subjects):
            for j, reference in enumerate(comparison.gallery.subjects):
                score = float(comparison.scores[i, j])
                if probe == reference:
                    good += [score] * int(counts[probe])
                else:
                    bad += [score] * int(counts[probe] * counts[reference])
        if good and bad:
            rates.append(metrics.tar_at_fmr(np.array(good), np.array(bad), 0.1))
    low, high = np.quantile(rates, [0.025, 0.975])
    assert [point.tar.low, point.tar.high] == pytest.approx([low, high])


def test_a_short_tail_grows_and_gives_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = noisy(12, each=2, noise=1.0, seed=2)
    usual = PairScores(comparison).measure([0.2, 0.05], bootstraps=40)
    monkeypatch.setattr(verification, "TAIL_FACTOR", 0.0)
    monkeypatch.setattr(verification, "TAIL_SLACK", 1)
    assert PairScores(comparison).measure([0.2, 0.05], bootstraps=40) == usual


def test_failures_are_missed_mates_and_never_false_matches() -> None:
    axes = np.eye(3)
    probes = side(axes[:2], [1, 2], of="p", failed=(3, 3))
    gallery = side(axes[:2], [1, 2], of="g", failed=(3, 1))
    pairs = PairScores(Comparison(probes, gallery))
    # Subject 1: one probe, two references tried. Subject 3: two probes, one reference, all failed.
    assert pairs.mated == 2 + 1 + 2
    assert pairs.non_mated == 2
    (point,) = pairs.measure([0.5], bootstraps=2)
    assert point.tar.value == pytest.approx(2 / 5)


def test_equal_scores_are_accepted_or_rejected_together() -> None:
    def at(score: float) -> list[float]:
        return [score, float(np.sqrt(1 - score**2))]

    gallery = side(np.array([[1.0, 0.0]]), [0], of="g")
    probes = side(
        np.array([at(s) for s in (0.75, 0.5, 0.5, 0.5, 0.25, 0.5, 0.625)]), [1, 1, 1, 1, 1, 0, 0], of="p"
    )
    pairs = PairScores(Comparison(probes, gallery))
    (strict,) = pairs.measure([0.6], bootstraps=2)
    assert strict.tar.value == 0.5
    assert strict.threshold > np.float64(probes.templates[1, 0])
    (nearest,) = pairs.measure([0.6], bootstraps=2, rule="nearest")
    # FMR 0.8 is nearer to 0.6 than 0.2 is.
    assert nearest.tar.value == 1.0
    assert nearest.threshold == np.float64(probes.templates[1, 0])
    (low,) = pairs.measure([0.3], bootstraps=2, rule="nearest")
    assert low.tar.value == 0.5


def test_an_fmr_without_enough_subjects_is_refused_with_the_reason() -> None:
    found = figures(noisy(80, each=1, noise=0.5), bootstraps=20)
    assert list(found.tar) == [0.01]
    assert set(found.refused) == {1e-3, 1e-4}
    assert "80 subjects make 3160 pairs" in found.refused[1e-3]
    assert "rule of 30" in found.refused[1e-4]
    none = figures(noisy(10, each=9, noise=0.5), bootstraps=20)
    assert none.tar == {}
    assert none.rank1.value > 0.5


def test_distractors_do_not_stand_in_for_subjects_with_probes() -> None:
    many = noisy(400, each=1, noise=0.5)
    few = np.flatnonzero(many.probes.subjects < 20)
    probes = side(many.probes.templates[few], many.probes.subjects[few].tolist(), of="p")
    assert figures(Comparison(probes, many.gallery), bootstraps=5).tar == {}


def test_counts_and_intervals_of_a_whole_comparison() -> None:
    found = figures(noisy(300, each=3, noise=0.9, references=2), bootstraps=200)
    assert (found.probes, found.references, found.subjects) == (900, 600, 300)
    assert found.mated == 1800
    assert found.non_mated == 900 * 600 - 1800
    assert list(found.tar) == [0.01, 0.001]
    for rate in (found.rank1, *found.tar.values()):
        assert 0 < rate.low < rate.value < rate.high < 1
    assert found.tar[0.001].value < found.tar[0.01].value
    assert found.thresholds[0.001] > found.thresholds[0.01]
    assert found.fta == found.fte == 0
    again = figures(noisy(300, each=3, noise=0.9, references=2), bootstraps=200)
    assert again == found
