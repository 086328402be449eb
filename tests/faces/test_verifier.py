"""The verifier's verdict: which detections get one, what it is shown, and what becomes of their score."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from faces.bundle import DetectorSpec, FileRef, LookWindow, Normalisation, SecondLook, VerifierSpec, read
from faces.types import Box, Face, Image, Spectrum
from faces.verifier import judged, nobody_clear, together, verifier_input
from service.settings import builtin_bundle

SIDE = 32
RULE = VerifierSpec(
    file=FileRef(path="verifier.onnx", sha256="0" * 64, bytes=1),
    normalisation=Normalisation(order="bgr", mean=(127.5,) * 3, std=(127.5,) * 3),
    input_px=SIDE,
    window=LookWindow(times=2.0),
    least=0.4,
    below=0.75,
    offset=-1.0,
    score=0.5,
    verdict=2.0,
    data="made up",
)


def face(score: float, box: Box | None = None) -> Face:
    marks = ((1.0, 1.0), (3.0, 1.0), (2.0, 2.0), (1.0, 3.0), (3.0, 3.0))
    return Face(box or Box(0, 0, 10, 10), marks, score)


def spec() -> DetectorSpec:
    plain = read(builtin_bundle()).manifest.detector
    return plain.model_copy(update={"second_look": None, "verifier": RULE})


def picture() -> Image:
    """A grey field of 200 x 160 px with a white box of 20 x 20 px at (100, 60)."""
    pixels = np.full((160, 200, 3), 120, np.uint8)
    pixels[60:80, 100:120] = 255
    return Image(pixels, Spectrum.VIS)


def test_a_crop_shows_the_detection_in_its_middle_with_its_surroundings() -> None:
    (crop,) = verifier_input(picture(), [face(0.5, Box(100, 60, 20, 20))], RULE)
    # 32 px for 40: the box fills the middle half.
    inside, outside = (255 - 127.5) / 127.5, (120 - 127.5) / 127.5
    np.testing.assert_allclose(crop[:, 10:22, 10:22], inside, atol=1e-6)
    np.testing.assert_allclose(crop[:, :6], outside, atol=1e-6)
    np.testing.assert_allclose(crop[:, :, 26:], outside, atol=1e-6)
    assert verifier_input(picture(), [], RULE).shape == (0, 3, SIDE, SIDE)


def test_a_false_face_falls_below_the_threshold_and_a_true_one_rises_above_it() -> None:
    given, plain = [face(0.7), face(0.45)], spec().model_copy(update={"calibration": None})
    false, true = judged(given, np.array([-3.0, 3.0], np.float32), spec())
    assert false.score == pytest.approx(1 / (1 + math.exp(1 - 0.5 * math.log(7 / 3) + 6)))
    assert false.score < spec().score_threshold
    # A verdict never lifts a doubtful detection above those that need none.
    assert true.score == pytest.approx(0.75)
    assert true.score < 0.75
    calibration = spec().calibration
    assert calibration is not None
    assert false.probability == pytest.approx(calibration.probability(false.score))
    assert true.probability == pytest.approx(calibration.probability(true.score))
    assert judged(given, np.zeros(2, np.float32), plain)[0].probability is None


def test_a_better_verdict_and_a_better_score_never_lower_the_score() -> None:
    values = [together(0.5, logit, RULE) for logit in (-1000.0, -2.0, -1.0, 0.0, 1.0, 1000.0)]
    assert values == sorted(values)
    assert all(0.0 <= value < RULE.below for value in values)
    assert together(0.45, 0.3, RULE) < together(0.7, 0.3, RULE)


def test_only_the_face_a_picture_would_be_about_is_judged_mildly_and_only_without_a_clear_one() -> None:
    rule = RULE.model_copy(update={"alone": 3.0})
    mild = spec().model_copy(update={"verifier": rule})
    first, other = face(0.6), face(0.6)
    logits = np.array([-0.5, -0.5], np.float32)
    strict = judged([first, other], logits, mild)
    assert strict[0].score == strict[1].score < mild.score_threshold
    kept, lost = judged([first, other], logits, mild, nobody_else=True)
    assert kept.score > mild.score_threshold > lost.score
    assert nobody_clear([face(0.74), face(0.1)], mild)
    assert not nobody_clear([face(0.74), face(0.75)], mild)
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        VerifierSpec.model_validate(RULE.model_dump() | {"alone": -1.0})


def test_there_is_one_verdict_for_each_detection() -> None:
    with pytest.raises(ValueError, match="zip"):
        judged([face(0.5)], np.zeros(2, np.float32), spec())
    with pytest.raises(ValueError, match="no verifier"):
        judged([face(0.5)], np.zeros(1, np.float32), spec().model_copy(update={"verifier": None}))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"least": 0.8}, "larger `below`"),
        ({"verdict": 0.0}, "greater than 0"),
        ({"verdict": float("inf")}, "finite"),
        ({"score": -0.1}, "greater than or equal to 0"),
        ({"input_px": 8}, "greater than or equal to 16"),
        ({"window": {"times": 0.5}}, "greater than or equal to 1"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(change: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        VerifierSpec.model_validate(RULE.model_dump() | change)


def test_a_second_look_and_a_verifier_are_for_the_same_scores() -> None:
    def both(least: float) -> DetectorSpec:
        look = SecondLook(least=least, below=0.75, windows=(LookWindow(times=4.0),))
        return DetectorSpec.model_validate(spec().model_dump() | {"second_look": look.model_dump()})

    assert both(0.4).doubt == (0.4, 0.75)
    with pytest.raises(ValidationError, match="same doubtful scores"):
        both(0.5)


def test_a_manifest_without_a_verifier_is_read_as_before() -> None:
    plain = spec().model_dump()
    del plain["verifier"]
    assert DetectorSpec.model_validate(plain).verifier is None
