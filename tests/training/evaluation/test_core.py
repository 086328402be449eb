"""Tests rank-1, VR at FAR and their intervals: by hand, by brute force, and for insufficient data."""

from __future__ import annotations

import numpy as np
import pytest

from faces.rates.metrics import rank_k, tar_at_fmr
from faces.rates.rank1 import NEVER, cmc, counts_at_rank, paired_difference, ranks, sum_runs
from faces.rates.scores import Comparison, Ids, Side, Vectors
from training.evaluation.figures import figures


def rows(values: Vectors) -> Vectors:
    unit: Vectors = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return unit


def side(vectors: Vectors, subjects: list[int], kind: str, failed: tuple[int, ...] = ()) -> Side:
    sources = tuple(f"{kind}{i}" for i in range(len(subjects)))
    return Side(rows(vectors), np.array(subjects, np.int64), sources, np.array(failed, np.int64))


def noisy(spread: float, *, subjects: int = 40, probes: int = 3, seed: int = 0) -> Comparison:
    """References are random directions; probes are theirs with noise."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((subjects, 16)).astype(np.float32)
    ids = [i for i in range(subjects) for _ in range(probes)]
    probe = centres[ids] + spread * rng.standard_normal((len(ids), 16)).astype(np.float32)
    return Comparison(side(probe, ids, "p"), side(centres, list(range(subjects)), "g"))


def test_one_photo_on_both_sides_is_refused() -> None:
    one = side(np.eye(2, dtype=np.float32), [0, 1], "x")
    with pytest.raises(ValueError, match="Never build probe and gallery from one photo"):
        Comparison(one, one)


def test_ranks_ties_and_failures_by_hand() -> None:
    """Probe 0 finds its own; probe 1 is nearer to subject 0; probe 2 ties; subject 2's reference failed."""
    gallery = side(np.array([[1, 0], [0, 1]], np.float32), [0, 1], "g", failed=(2,))
    probe = np.array([[1, 0.1], [1, 0.2], [1, 1], [0, 1]], np.float32)
    probes = side(probe, [0, 1, 1, 2], "p", failed=(0,))
    comparison = Comparison(probes, gallery)
    assert ranks(comparison).tolist() == [1, 2, 2, NEVER]
    counts = counts_at_rank(comparison)
    assert (counts.subjects.tolist(), counts.successes.tolist(), counts.probes.tolist()) == (
        [0, 1, 2],
        [1, 0, 0],
        [2, 2, 1],
    )
    assert cmc(comparison, max_rank=2).tolist() == pytest.approx([1 / 5, 3 / 5])


def test_a_probe_of_an_unknown_subject_is_refused() -> None:
    gallery = side(np.eye(2, dtype=np.float32), [0, 1], "g")
    with pytest.raises(ValueError, match="closed-set"):
        ranks(Comparison(side(np.ones((1, 2), np.float32), [7], "p"), gallery))


@pytest.mark.parametrize("spread", [0.2, 1.0, 2.0])
def test_figures_agree_with_the_plain_definitions(spread: float) -> None:
    comparison = noisy(spread)
    found = figures(comparison, fmr_points=(0.1,), bootstraps=50)
    probes, gallery = comparison.probes.subjects, comparison.gallery.subjects
    assert found.rank1.value == pytest.approx(rank_k(comparison.scores, probes, gallery))
    mated, other = comparison.scores[comparison.mated], comparison.scores[~comparison.mated]
    assert found.tar[0.1].value == pytest.approx(tar_at_fmr(mated, other, 0.1))
    assert found.rank1.low <= found.rank1.value <= found.rank1.high
    assert found.tar[0.1].low <= found.tar[0.1].value <= found.tar[0.1].high


def test_unsupported_fmr_points_are_refused_with_the_reason() -> None:
    found = figures(noisy(1.0), fmr_points=(0.1, 1e-3), bootstraps=10)
    assert set(found.tar) == {0.1}
    assert "rule of 30" in found.refused[1e-3]


def test_a_failed_probe_is_a_miss() -> None:
    whole = noisy(0.1)
    probes = whole.probes
    lost = Side(probes.templates[1:], probes.subjects[1:], probes.sources[1:], probes.subjects[:1])
    found = figures(Comparison(lost, whole.gallery), fmr_points=(0.1,), bootstraps=10)
    assert found.fta == pytest.approx(1 / 120)
    assert found.rank1.value == pytest.approx(119 / 120)


def test_the_paired_difference_is_zero_to_itself_and_positive_to_a_worse_system() -> None:
    good, bad = counts_at_rank(noisy(0.6)), counts_at_rank(noisy(2.0))
    same = paired_difference(good, good)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    gain = paired_difference(good, bad)
    assert gain.value == pytest.approx(100 * (good.rate - bad.rate))
    assert gain.low > 0
    seeds = [counts_at_rank(noisy(0.6, seed=s)) for s in range(3)]
    assert sum_runs(seeds).probes.tolist() == (3 * good.probes).tolist()
    for how in ("fixed", "paired", "independent"):
        other = paired_difference(seeds, [bad] * 3, seeds=how)
        assert other.low > 0


def test_runs_on_different_probes_are_not_paired() -> None:
    fewer: Ids = counts_at_rank(noisy(1.0, probes=2)).probes
    assert fewer.sum() == 80
    with pytest.raises(ValueError, match="paired"):
        paired_difference(counts_at_rank(noisy(1.0)), counts_at_rank(noisy(1.0, probes=2)))
