"""Similarities: whatever threshold a client of CompreFace has, ours decides."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from faces.bundle import read
from faces.calibration import Calibration
from faces.types import CONDITIONS, Pair
from service.matching.compreface_scale import (
    BELOW,
    MATCH,
    detection_probability,
    detection_score,
    similarity,
)
from service.matching.rules import Options, Rule, Rules
from service.settings import builtin_bundle

SCORES = np.linspace(-1, 1, 401)
# What clients have as defaults, and what people set.
CLIENTS = (0.5, 0.6, 0.8, 0.9, 0.95)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    found = read(builtin_bundle()).manifest.calibration
    assert found is not None
    return found


def rules(calibration: Calibration, fmr: float | None = None) -> list[Rule]:
    made = Rules.of(calibration, Options(fmr=fmr), comparisons=1)
    return [made.rule([reference], [probe]) for reference in CONDITIONS for probe in CONDITIONS]


@pytest.mark.parametrize("fmr", [None, 1e-2, 1e-5])
def test_every_usual_threshold_of_a_client_decides_as_ours(
    calibration: Calibration, fmr: float | None
) -> None:
    for rule, score in itertools.product(rules(calibration, fmr), SCORES):
        found = similarity(float(score), rule, calibration, accepted=rule.accepts(float(score)))
        assert all((found >= threshold) == rule.accepts(float(score)) for threshold in CLIENTS)


@pytest.mark.parametrize("fmr", [None, 1e-2, 1e-5])
def test_it_rises_with_the_score_from_0_to_1(calibration: Calibration, fmr: float | None) -> None:
    for rule in rules(calibration, fmr):
        found = [similarity(float(s), rule, calibration, accepted=rule.accepts(float(s))) for s in SCORES]
        assert found == sorted(found)
        assert found[0] == 0
        assert found[-1] == 1


def test_the_threshold_in_force_and_the_other_points_have_fixed_values(calibration: Calibration) -> None:
    for rule in rules(calibration):
        assert rule.threshold is not None
        assert similarity(rule.threshold, rule, calibration, accepted=True) == MATCH
        just_below = math.nextafter(rule.threshold, 0)
        assert similarity(just_below, rule, calibration, accepted=False) < BELOW
        for fmr, value in ((1e-2, 0.4), (1e-3, 0.45), (1e-5, 0.96)):
            score = calibration.at(rule.pair, fmr).threshold
            found = similarity(score, rule, calibration, accepted=rule.accepts(score))
            assert found == pytest.approx(value, abs=1e-5)


def test_a_pair_without_a_threshold_never_matches(calibration: Calibration) -> None:
    rule = Rule(Pair(CONDITIONS[0], CONDITIONS[0]), calibrated=False, threshold=None)
    assert similarity(1.0, rule, calibration, accepted=False) < BELOW
    assert similarity(0.5, rule, calibration, accepted=False) < similarity(
        0.8, rule, calibration, accepted=False
    )


def test_a_rounded_score_keeps_the_decision(calibration: Calibration) -> None:
    rule = rules(calibration)[0]
    assert rule.threshold is not None
    assert similarity(rule.threshold - 0.004, rule, calibration, accepted=True) == MATCH
    assert similarity(rule.threshold + 0.004, rule, calibration, accepted=False) < BELOW


def test_the_usual_det_prob_threshold_is_the_detectors_own() -> None:
    assert detection_score(0.8, 0.5) == 0.5
    assert detection_probability(0.5, 0.5) == 0.8
    assert detection_score(0, 0.5) == 0.3
    assert 0.9999 < detection_score(1, 0.5) < 1
    scores = [detection_score(p, 0.6) for p in np.linspace(0, 1, 50)]
    assert scores == sorted(scores)
    for probability in (0.1, 0.8, 0.93):
        there = detection_score(probability, 0.6)
        assert detection_probability(there, 0.6) == pytest.approx(probability, abs=1e-5)
