"""The streamed tail is the sorted list's end, and people with groups keep their own comparisons."""

from __future__ import annotations

import numpy as np
import pytest

from faces.rates import metrics
from faces.rates.tail import Impostors, tail_of, tail_of_comparison
from tests.faces.rates.sides import noisy


def made(people: int, *, probes: int = 1, groups: int = 1, seed: int = 0) -> Impostors:
    """Random scores: the references are unit axes, so a probe's coordinates are its scores."""
    rng = np.random.default_rng(seed)
    own = np.repeat(np.arange(people), probes)
    scores = rng.normal(0, 0.1, (len(own), people)).astype(np.float32)
    scores[np.arange(len(own)), own] = 0.9
    labels = tuple(f"g{i % groups}" for i in range(people))
    return Impostors(scores, np.eye(people, dtype=np.float32), own, labels)


def others(impostors: Impostors) -> np.ndarray:
    scores = impostors.probes @ impostors.references.T
    off = np.ones(scores.shape, bool)
    off[np.arange(len(impostors.own)), impostors.own] = False
    return scores[off]


@pytest.mark.parametrize(("people", "probes"), [(50, 1), (700, 1), (400, 3)])
def test_the_tail_is_exact_whatever_the_blocks(people: int, probes: int) -> None:
    impostors = made(people, probes=probes)
    every = np.sort(others(impostors))[::-1]
    tail = tail_of(impostors, loosest=1e-2)
    assert tail.total == len(every) == impostors.comparisons
    assert np.array_equal(tail.scores, every[: len(tail.scores)])
    for fmr in (1e-2, 3e-3, 1e-4):
        assert tail.threshold(fmr) == metrics.threshold_at_fmr(every, fmr)
        assert tail.accepted(tail.threshold(fmr)) == tail.allowed(fmr)
    # Each score is told with the people that it compares.
    for i in (0, len(tail.scores) // 2):
        rows = np.flatnonzero(impostors.own == tail.probe[i])
        assert tail.scores[i] in impostors.probes[rows, tail.reference[i]]
        assert tail.probe[i] != tail.reference[i]


def test_ties_are_counted_and_not_dropped() -> None:
    impostors = made(60)
    impostors.probes[impostors.probes < 0.1] = 0.0
    tail = tail_of(impostors, loosest=1e-2)
    assert tail.accepted(float(tail.scores[10])) >= 11
    with pytest.raises(ValueError, match="below the tail"):
        tail_of(made(700), loosest=1e-3).accepted(-0.5)


def test_a_group_is_compared_with_itself_alone() -> None:
    impostors = made(90, probes=2, groups=3)
    within = impostors.within("g1")
    assert within.people == 30
    assert within.comparisons == 60 * 29
    places = np.arange(1, 90, 3)
    expected = others(impostors.within("g1"))
    rows = np.isin(impostors.own, places)
    block = impostors.probes[rows][:, places]
    assert np.allclose(np.sort(expected), np.sort(block[block < 0.9]))


def test_people_with_any_number_of_probes_and_references_are_compared_with_all_others() -> None:
    comparison = noisy(6, each=3, noise=0.8, seed=5, references=2)
    tail = tail_of_comparison(comparison)
    strangers = comparison.scores[~comparison.mated]
    assert tail.scores.tolist() == np.sort(strangers)[::-1].tolist()
    assert (tail.total, tail.people) == (len(strangers), 6)
    assert tail.probes is not None
    assert tail.references is not None
    assert (tail.probes.sum(), tail.references.sum()) == comparison.scores.shape
    for place in (0, 7, len(strangers) - 1):
        row, column = np.argwhere((comparison.scores == tail.scores[place]) & ~comparison.mated)[0]
        assert comparison.probes.subjects[row] == tail.probe[place]
        assert comparison.gallery.subjects[column] == tail.reference[place]
