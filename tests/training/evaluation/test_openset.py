"""Tests open-set rates of two swapped halves."""

from __future__ import annotations

import numpy as np
import pytest

from faces.rates.scores import Comparison
from tests.faces.rates.sides import noisy, side
from training.evaluation import openset
from training.evaluation.openset import open_set_figures


def test_both_halves_agree_with_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openset, "ERRORS_NEEDED", 1)
    comparison = noisy(20, each=3, noise=1.0, dimension=6, references=2)
    (point,) = open_set_figures(comparison, fpir_points=[0.2], bootstraps=50, seed=4).points
    order = np.random.default_rng(4).permutation(20)
    found = 0
    for half, rates in zip((order[:10], order[10:]), point.halves, strict=True):
        columns = np.isin(comparison.gallery.subjects, half)
        alarms = searches = hits = mates = 0
        for row, subject in zip(comparison.scores, comparison.probes.subjects, strict=True):
            best = int(np.argmax(np.where(columns, row, -9.0)))
            positive = float(row[best]) >= rates.threshold
            if subject in half:
                mates += 1
                hits += positive and comparison.gallery.subjects[best] == subject
            else:
                searches += 1
                alarms += positive
        assert rates.fpir == pytest.approx(alarms / searches)
        assert alarms / searches <= 0.2
        assert rates.fnir == pytest.approx(1 - hits / mates)
        found += hits
    assert point.fnir.value == pytest.approx(1 - found / 60)
    assert point.fnir.low < point.fnir.value < point.fnir.high


def test_failures_of_enrolled_subjects_are_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openset, "ERRORS_NEEDED", 0)
    whole = noisy(12, each=2, noise=0.05)
    rows = whole.probes.templates
    probes = side(rows, whole.probes.subjects.tolist(), of="p", failed=(0, 3, 3))
    keep = whole.gallery.subjects != 5
    gallery = side(whole.gallery.templates[keep], whole.gallery.subjects[keep].tolist(), of="g", failed=(5,))
    (point,) = open_set_figures(Comparison(probes, gallery), fpir_points=[0.1], bootstraps=5).points
    # Three failed probes, and two whose only reference failed, of 27; nothing else is missed.
    assert point.fnir.value == pytest.approx(5 / 27)
    pooled = [half.fnir for half in point.halves]
    assert min(pooled) < point.fnir.value < max(pooled) or pooled[0] == pooled[1]


def test_points_with_too_few_subjects_are_refused() -> None:
    found = open_set_figures(noisy(700, each=1, noise=0.4), bootstraps=5)
    assert [p.fpir for p in found.points] == [0.1]
    assert set(found.refused) == {0.03, 0.01}
    assert "350 subjects that are not enrolled make 10" in found.refused[0.03]
    with pytest.raises(ValueError, match="four subjects"):
        open_set_figures(noisy(3, each=1, noise=0.4))
