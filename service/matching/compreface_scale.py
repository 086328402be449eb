"""Scores as clients of CompreFace expect them: from 0 to 1, with what decides here at a fixed value there.

Such a client compares `similarity` with a threshold of its own: 0.5 and 0.6 where nobody touched it, 0.8 to
0.95 where somebody did. So nothing lies between `BELOW` and `MATCH`: whichever of these thresholds a client
has, it accepts exactly what the calibrated threshold of the comparison accepts.
"""

from __future__ import annotations

import math

import numpy as np

from faces.calibration import Calibration
from service.inference.detector import LOWEST_SCORE
from service.matching.rules import Rule

# The similarity of a score that is just at the threshold in force, and what every lower score stays below.
MATCH, BELOW = 0.95, 0.5
# For each decade of FMR that a score passes beyond that of the threshold in force, or falls short of it.
DECADE_ABOVE, DECADE_BELOW = 0.01, 0.05
DIGITS = 5
LAST = 10.0**-DIGITS
# The `det_prob_threshold` that CompreFace and its clients have by default: here the detector's own.
USUAL_PROBABILITY = 0.8


def similarity(score: float, rule: Rule, calibration: Calibration, *, accepted: bool) -> float:
    """The similarity of a comparison score that `rule` decided about, with `accepted`.

    It rises with the score: 0 at a score of 0, `MATCH` at the threshold in force, 1 at 1, and between them
    by the calibrated points of the pair of conditions. Where the pair has no threshold, it stays below
    `BELOW`.
    """
    threshold = rule.threshold
    if threshold is None or not accepted:
        below = _anchors_below(1.0 if threshold is None else threshold, rule, calibration)
        return round(min(_between(score, below), BELOW - LAST), DIGITS)
    return round(max(_between(score, _anchors_above(threshold, rule, calibration)), MATCH), DIGITS)


def _anchors_below(threshold: float, rule: Rule, calibration: Calibration) -> list[tuple[float, float]]:
    found = [(0.0, 0.0)] if threshold > 0 else []
    for point, decades in _decades(rule, calibration):
        if decades < 0 and 0 < point < threshold:
            found.append((point, max(0.0, BELOW + DECADE_BELOW * decades)))
    return [*sorted(found), (threshold, BELOW)]


def _anchors_above(threshold: float, rule: Rule, calibration: Calibration) -> list[tuple[float, float]]:
    found = [(threshold, MATCH)]
    for point, decades in _decades(rule, calibration):
        if decades > 0 and threshold < point < 1:
            found.append((point, min(1.0, MATCH + DECADE_ABOVE * decades)))
    return [*sorted(found), (max(1.0, threshold), 1.0)]


def _decades(rule: Rule, calibration: Calibration) -> list[tuple[float, float]]:
    """The pair's other thresholds, each with how many times 10 its FMR is stricter than the one in force."""
    if rule.target_fmr is None or not calibration.has(rule.pair):
        return []
    points = calibration.points(rule.pair)
    return [(point.threshold, math.log10(rule.target_fmr / point.fmr)) for point in points]


def _between(score: float, anchors: list[tuple[float, float]]) -> float:
    scores, values = zip(*anchors, strict=True)
    return float(np.interp(score, scores, values))


def detection_score(probability: float, own: float) -> float:
    """The lowest detection score that a `det_prob_threshold` from 0 to 1 asks for; `own`: the detector's.

    `USUAL_PROBABILITY` asks for `own`. Below `LOWEST_SCORE` nothing is detected, and 1 asks for the highest
    score that can be asked for.
    """
    found = float(np.interp(probability, *_detection(own)))
    return min(found, math.nextafter(1.0, 0.0))


def detection_probability(score: float, own: float) -> float:
    """The `probability` of a face of this detection score, on the scale of `detection_score`."""
    probabilities, scores = _detection(own)
    return round(float(np.interp(score, scores, probabilities)), DIGITS)


def _detection(own: float) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    return (0.0, USUAL_PROBABILITY, 1.0), (min(LOWEST_SCORE, own), own, 1.0)
