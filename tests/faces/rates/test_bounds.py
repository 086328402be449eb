"""Upper bounds hold for people who are alike by chance, and tails of known distributions are found again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import genpareto, norm  # type: ignore[import-untyped]

from faces.rates.bounds import FEWEST, design_effect, fmr_upper, tail_model
from faces.rates.tail import Impostors, Tail, tail_of

PEOPLE, THRESHOLD = 120, 0.3


def population(rng: np.random.Generator, *, alike: float, people: int = PEOPLE) -> Impostors:
    """Score = what both people add (`alike`: its standard deviation) + chance of .1, the same both ways."""
    own = rng.normal(0, alike, people)
    chance = np.triu(rng.normal(0, 0.1, (people, people)), 1)
    scores = (own[:, None] + own[None, :] + chance + chance.T).astype(np.float32)
    ids = np.arange(people)
    return Impostors(scores, np.eye(people, dtype=np.float32), ids, (None,) * people)


def true_fmr(alike: float) -> float:
    return float(norm.sf(THRESHOLD, scale=np.sqrt(2 * alike**2 + 0.1**2)))


@pytest.mark.parametrize("alike", [0.0, 0.05, 0.08])
def test_the_bound_lies_above_the_true_rate_as_often_as_it_says(alike: float) -> None:
    rng = np.random.default_rng(7)
    held, bounds = 0, []
    for _ in range(80):
        tail = tail_of(population(rng, alike=alike), loosest=0.2)
        bounds.append(fmr_upper(tail, THRESHOLD))
        held += bounds[-1] >= true_fmr(alike)
    # 95 % of 80, less three standard errors; and it is a bound, not a surrender.
    assert held >= 70
    assert np.median(bounds) < 4 * true_fmr(alike)


def test_pairs_that_are_counted_twice_do_not_narrow_the_bound() -> None:
    """Each pair has one score both ways, so there are half as many independent comparisons."""
    tail = tail_of(population(np.random.default_rng(1), alike=0.0), loosest=0.2)
    assert design_effect(tail, 400) == pytest.approx(2.0, abs=0.5)
    alike = tail_of(population(np.random.default_rng(1), alike=0.08), loosest=0.2)
    assert design_effect(alike, 400) > 4


def test_no_false_match_leaves_a_bound_above_zero() -> None:
    tail = tail_of(population(np.random.default_rng(2), alike=0.0), loosest=0.2)
    none = float(tail.scores[0]) + 0.01
    # The rule of three on pairs of people, or more where people are alike.
    rule_of_three = 3 / (PEOPLE * (PEOPLE - 1) / 2)
    assert 0.9 * rule_of_three < fmr_upper(tail, none) < 2 * rule_of_three


def tail_from(scores: np.ndarray) -> Tail:
    kept = np.sort(scores)[::-1][: len(scores) // 50].astype(np.float32)
    ids = np.arange(len(kept))
    return Tail(kept, ids, ids + 1, len(scores), len(scores))


@pytest.mark.parametrize("shape", [-0.2, 0.0, 0.2])
def test_a_pareto_tail_is_found_again_beyond_the_data(shape: float) -> None:
    rng = np.random.default_rng(3)
    scores = genpareto.rvs(shape, scale=0.05, size=500_000, random_state=rng)
    model = tail_model(tail_from(scores))
    assert model.shape == pytest.approx(shape, abs=0.12)
    for fmr in (1e-4, 1e-5, 1e-6):
        assert model.threshold(fmr) == pytest.approx(genpareto.isf(fmr, shape, scale=0.05), rel=0.15)


def test_the_tail_of_a_normal_distribution_is_close_a_decade_beyond() -> None:
    scores = np.random.default_rng(4).normal(0, 0.1, 1_000_000)
    model = tail_model(tail_from(scores))
    for fmr in (1e-5, 1e-6, 1e-7):
        assert model.threshold(fmr) == pytest.approx(norm.isf(fmr, scale=0.1), rel=0.05)
    with pytest.raises(ValueError, match="begins above"):
        model.threshold(0.1)


def test_scores_that_do_not_differ_have_no_tail() -> None:
    with pytest.raises(ValueError, match="do not differ"):
        tail_model(Tail(np.ones(500, np.float32), np.arange(500), np.arange(500), 1000, 1000))


def test_the_design_effect_of_uneven_people_is_that_of_the_definition() -> None:
    """Variance with people as clusters over that of independent comparisons, pair by pair."""
    rng = np.random.default_rng(8)
    people, probes, references = 7, rng.integers(2, 6, 7), rng.integers(1, 4, 7)
    pairs = np.array(
        [
            (p, r)
            for p in range(people)
            for r in range(people)
            if p != r
            for _ in range(probes[p] * references[r])
        ]
    )
    # Person 0 resembles everybody.
    likeness = rng.random(len(pairs)) + 0.4 * (pairs == 0).any(axis=1)
    pairs = pairs[np.argsort(-likeness)]
    probe, reference = pairs.T
    scores = np.linspace(1, 0, len(pairs)).astype(np.float32)
    tail = Tail(scores, probe, reference, len(pairs), people, probes, references)
    count = FEWEST
    seen, possible = np.zeros((people, people)), np.zeros((people, people))
    for place, (p, r) in enumerate(pairs):
        possible[min(p, r), max(p, r)] += 1
        seen[min(p, r), max(p, r)] += place < count
    residual = seen - possible * count / len(pairs)
    by_person = sum((residual[i, :].sum() + residual[:, i].sum()) ** 2 for i in range(people))
    wanted = (by_person - (residual**2).sum()) / count
    assert len(pairs) > count
    assert wanted > 1.5
    assert design_effect(tail, 5) == pytest.approx(wanted)
