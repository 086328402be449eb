"""Tests the calibration of a detector's score."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.records import DataSetError
from training.detector.scores import fit_scores


def drawn(offset: float, slope: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and truths drawn by a known curve."""
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.3, 0.99, count)
    likely = 1 / (1 + np.exp(-(offset + slope * np.log(scores / (1 - scores)))))
    return scores, rng.random(count) < likely


def test_a_known_curve_is_found_again() -> None:
    found = fit_scores(*drawn(-3.0, 2.0, 20_000), data="drawn")
    assert (found.offset, found.slope) == pytest.approx((-3.0, 2.0), abs=0.15)
    assert found.probability(0.5) == pytest.approx(1 / (1 + np.exp(3.0)), abs=0.01)
    assert "true and" in found.data


def test_a_few_false_detections_do_not_make_a_step() -> None:
    scores, truths = np.array([0.5, 0.55, *[0.95] * 50]), np.array([False, False, *[True] * 50])
    found = fit_scores(scores, truths, data="separable")
    assert 0.0 < found.probability(0.5) < 0.5 < found.probability(0.95) < 1.0


@pytest.mark.parametrize("truths", [[True, True], [False, False]])
def test_both_kinds_are_needed(truths: list[bool]) -> None:
    with pytest.raises(DataSetError, match="both are needed"):
        fit_scores(np.array([0.4, 0.9]), np.array(truths), data="one kind")


def test_a_curve_that_falls_is_refused() -> None:
    scores = np.linspace(0.3, 0.9, 40)
    with pytest.raises(DataSetError, match="cannot be calibrated"):
        fit_scores(scores, scores < 0.5, data="upside down")
