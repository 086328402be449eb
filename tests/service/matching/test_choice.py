"""Tests which of several faces a request is about."""

from __future__ import annotations

import numpy as np
import pytest

from faces.bundle import ScoreCalibration, read
from faces.types import Box, Face, Image, Spectrum
from service.errors import MultipleFaces, NoFace
from service.matching.choice import meant_face, subject_face
from service.settings import builtin_bundle

IMAGE = Image(np.zeros((400, 400, 3), np.uint8), Spectrum.VIS)
SPEC = read(builtin_bundle()).manifest.detector


def face(score: float, side: float, *, at: tuple[float, float] = (10.0, 10.0)) -> Face:
    """A square face; its probability is that of the built-in detector."""
    x, y = at
    assert SPEC.calibration is not None
    probability = SPEC.calibration.probability(score)
    return Face(Box(x, y, side, side), ((x, y),) * 5, score, probability=probability)


@pytest.mark.parametrize("score", [0.51, 0.55, 0.60, 0.64])
@pytest.mark.parametrize("larger", [1.0, 2.0, 4.0])
def test_a_larger_false_face_loses_against_a_sure_one(score: float, larger: float) -> None:
    true, ghost = face(0.96, 100.0, at=(20, 20)), face(score, 100.0 * larger**0.5, at=(180, 180))
    assert meant_face(IMAGE, [ghost, true]) == [true]
    assert subject_face(IMAGE, [ghost, true]) == [true]


def test_a_second_face_that_is_plausible_makes_it_unclear_who_is_meant() -> None:
    one, other = face(0.96, 100.0, at=(20, 20)), face(0.94, 80.0, at=(290, 290))
    assert meant_face(IMAGE, [one, other]) == [one]
    with pytest.raises(MultipleFaces):
        subject_face(IMAGE, [one, other])
    small = face(0.94, 60.0, at=(290, 290))
    assert subject_face(IMAGE, [one, small]) == [one]


def test_the_face_in_the_middle_is_meant_although_a_bystander_is_as_large() -> None:
    framed, bystander = face(0.96, 104.0, at=(148, 148)), face(0.96, 100.0, at=(5, 5))
    assert subject_face(IMAGE, [framed, bystander]) == [framed]
    assert subject_face(IMAGE, [bystander, framed]) == [framed]
    with pytest.raises(MultipleFaces):
        subject_face(IMAGE, [face(0.96, 104.0, at=(280, 148)), bystander])


def test_without_a_face_there_is_nothing_to_choose() -> None:
    for choose in (meant_face, subject_face):
        with pytest.raises(NoFace):
            choose(IMAGE, [])


def test_a_calibrated_probability_rises_with_the_score() -> None:
    calibration = ScoreCalibration(offset=0.0, slope=1.0, data="the identity")
    for score in (0.1, 0.5, 0.9):
        assert calibration.probability(score) == pytest.approx(score)
    steep = ScoreCalibration(offset=-2.0, slope=2.0, data="steeper")
    values = [steep.probability(score) for score in np.linspace(0, 1, 50)]
    assert values == sorted(values)
    assert 0.0 < values[0] < 1e-3 < 1 - 1e-3 < values[-1] < 1.0
