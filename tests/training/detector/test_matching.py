"""Tests matching of detections with labels, and the errors of landmarks."""

from __future__ import annotations

import numpy as np
import pytest

from faces.types import Box, Face
from training.detector.evaluate import normalised_error
from training.detector.matching import match, recall_at, recall_at_false_positives
from training.detector.scenes import FaceArrays

POINTS = ((1.0, 1.0), (3.0, 1.0), (2.0, 2.0), (1.0, 3.0), (3.0, 3.0))


def seen(x: float, score: float) -> Face:
    return Face(Box(x, 0.0, 10.0, 10.0), POINTS, score)


def known(*at: float, sure: tuple[bool, ...]) -> FaceArrays:
    boxes = np.array([(x, 0.0, x + 10.0, 10.0) for x in at]).reshape(-1, 4)
    return FaceArrays(boxes, np.zeros((len(at), 5, 2)), np.zeros(len(at), np.int8), np.array(sure, np.bool_))


def test_each_face_is_matched_once_and_doubtful_faces_do_not_count() -> None:
    detections = [seen(1, 0.5), seen(0, 0.9), seen(50, 0.8), seen(101, 0.7)]
    found = match(detections, known(0.0, 100.0, 50.0, sure=(True, True, False)))
    assert found.scores.tolist() == [0.9, 0.7]
    assert found.found.tolist() == [1, 3]
    assert found.false_scores.tolist() == [0.5]


def test_the_threshold_of_recall_keeps_the_rate_of_false_positives() -> None:
    good = match([seen(0, 0.9), seen(30, 0.6)], known(0.0, sure=(True,)))
    weak = match([seen(0, 0.4), seen(30, 0.5), seen(60, 0.45)], known(0.0, sure=(True,)))
    one_each = recall_at_false_positives([good, weak])
    assert one_each.recall.value == 0.5
    assert one_each.false_per_picture == 1.0
    assert 0.45 < one_each.threshold <= 0.5
    assert recall_at_false_positives([good, weak], 2.0).recall.value == 1.0
    assert recall_at([good, weak], 0.95).recall.value == 0.0
    with pytest.raises(ValueError, match="no labelled face"):
        recall_at([match([], known(sure=()))], 0.5)


def test_a_constant_offset_along_the_eyes_is_removed() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 100, (20, 5, 2))
    across = truth[:, 1] - truth[:, 0]
    eyes = np.linalg.norm(across, axis=1)
    shifted = truth + 0.1 * across[:, None]
    assert normalised_error(shifted, truth, unbiased=False) == pytest.approx(np.full(20, 0.1))
    assert normalised_error(shifted, truth, unbiased=True) == pytest.approx(np.zeros(20), abs=1e-9)
    miss = rng.standard_normal(truth.shape) * eyes[:, None, None]
    errors = normalised_error(truth + miss, truth, unbiased=False)
    assert errors == pytest.approx(np.linalg.norm(miss, axis=2).mean(axis=1) / eyes)
