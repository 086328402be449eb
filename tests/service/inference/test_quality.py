"""Tests quality on real samples with one defect at a time; a mask does not lower the score."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from faces.align import ALIGNMENTS, align, similarity
from faces.types import Box, Face, Image, Pixels, Point, Spectrum
from service.inference.engine import Engine
from service.inference.quality import Quality, assess, pose_of
from tests.service.inference.faces import Seen, load, pixels, see

ALIGNMENT = "arcface-112"
SUBJECTS = ("s01", "s03", "s05", "s09")


@pytest.fixture(scope="module")
def engine(bundle_dir: Path) -> Engine:
    return load(bundle_dir)


@pytest.fixture(params=SUBJECTS)
def seen(request: pytest.FixtureRequest, engine: Engine) -> Seen:
    return see(engine, Image(pixels(request.param), Spectrum.VIS))


def quality(seen: Seen, changed: Pixels | None = None, face: Face | None = None) -> Quality:
    """Of the same face, on other pixels or with other landmarks."""
    image = seen.image if changed is None else Image(np.asarray(changed, np.uint8), seen.image.spectrum)
    face = face or seen.face
    return assess(face, align(image, face, ALIGNMENT))


def lower_half_painted(seen: Seen, paint: int | str) -> Pixels:
    """Covers everything below the bridge of the nose, like a mask, along the axes of the alignment."""
    side = ALIGNMENTS[ALIGNMENT].side_px
    matrix = cv2.invertAffineTransform(similarity(seen.face.landmarks, ALIGNMENTS[ALIGNMENT]))
    below = np.array([[-9.0, 0.62], [9.0, 0.62], [9.0, 9.0], [-9.0, 9.0]]) * side
    corners = below @ matrix[:, :2].T + matrix[:, 2]
    area = cv2.fillConvexPoly(np.zeros(seen.image.pixels.shape[:2], np.uint8), corners.astype(np.int32), 1)
    cover = seen.image.pixels.copy()
    if paint == "noise":
        cover = np.random.default_rng(0).integers(0, 256, cover.shape, np.uint8)
    elif paint == "blur":
        cover = np.asarray(cv2.GaussianBlur(cover, (0, 0), 9), np.uint8)
    else:
        cover[:] = paint
    return np.where(area[:, :, None] == 1, cover, seen.image.pixels).astype(np.uint8)


def test_a_good_photo_scores_high_and_has_no_reasons(seen: Seen) -> None:
    good = quality(seen)
    assert good.score >= 85
    assert good.reasons == ()
    assert good.inter_eye_px == seen.face.inter_eye_px


def test_more_blur_lowers_the_score_and_is_a_reason(seen: Seen) -> None:
    qualities = [quality(seen)]
    for share in (0.025, 0.05, 0.1):
        # Blur in proportion to the face, so that every subject is blurred alike.
        sigma = share * seen.face.inter_eye_px
        qualities.append(quality(seen, cv2.GaussianBlur(seen.image.pixels, (0, 0), sigma)))
    sharpnesses = [q.sharpness for q in qualities]
    assert sharpnesses == sorted(sharpnesses, reverse=True)
    assert qualities[-1].score < qualities[0].score
    assert "blurred" in qualities[-1].reasons
    assert "blurred" not in qualities[0].reasons


def test_a_dark_photo_is_badly_exposed_but_not_blurred(seen: Seen) -> None:
    dark = quality(seen, (seen.image.pixels * 0.05).astype(np.uint8))
    assert set(dark.reasons) >= {"badly_exposed", "too_dark"}
    assert "too_bright" not in dark.reasons
    assert dark.exposure < 0.2
    assert dark.score < quality(seen).score


def test_an_overexposed_photo_is_badly_exposed(seen: Seen) -> None:
    bright = quality(seen, np.clip(seen.image.pixels.astype(np.int16) + 180, 0, 255).astype(np.uint8))
    assert set(bright.reasons) >= {"badly_exposed", "too_bright"}
    assert "too_dark" not in bright.reasons
    assert bright.score < quality(seen).score


def test_a_small_face_is_too_small(seen: Seen, engine: Engine) -> None:
    factor = 18 / seen.face.inter_eye_px
    little = cv2.resize(seen.image.pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    moved: list[Point] = [(x * factor, y * factor) for x, y in seen.face.landmarks]
    face = Face(seen.face.box, (moved[0], moved[1], moved[2], moved[3], moved[4]), seen.face.score)
    small = quality(seen, np.asarray(little, np.uint8), face)
    assert "face_too_small" in small.reasons
    assert small.inter_eye_px == pytest.approx(18)
    assert small.score < quality(seen).score


def test_an_uncertain_detection_is_a_reason(seen: Seen) -> None:
    unsure = quality(seen, face=Face(seen.face.box, seen.face.landmarks, 0.45))
    assert unsure.reasons == ("uncertain_face",)
    assert unsure.score < quality(seen).score


@pytest.mark.parametrize("paint", [0, 255, "noise", "blur"])
def test_covering_the_lower_half_of_the_face_does_not_change_the_score(seen: Seen, paint: int | str) -> None:
    covered = lower_half_painted(seen, paint)
    assert (covered != seen.image.pixels).mean() > 0.1, "nothing was painted"
    assert quality(seen, covered) == quality(seen)


def test_covering_the_eyes_changes_the_score(seen: Seen) -> None:
    (ax, ay), (bx, by) = seen.face.landmarks[:2]
    changed = seen.image.pixels.copy()
    half = round(0.45 * seen.face.inter_eye_px)
    top, bottom = round(min(ay, by)) - half, round(max(ay, by)) + half
    changed[top:bottom, round(ax) - 2 * half : round(bx) + 2 * half] = 128
    assert quality(seen, changed).score < quality(seen).score


@pytest.mark.parametrize(
    ("shift", "turned"), [(0.0, False), (0.2, False), (-0.2, False), (0.55, True), (-0.55, True)]
)
def test_a_nose_far_from_the_midpoint_means_turned_away(seen: Seen, shift: float, turned: bool) -> None:
    (a, b, _, left, right), reach = seen.face.landmarks, shift * seen.face.inter_eye_px
    middle = ((a[0] + b[0]) / 2 + reach, (a[1] + b[1]) / 2 + 0.5 * seen.face.inter_eye_px)
    face = Face(seen.face.box, (a, b, middle, left, right), seen.face.score)
    assert math.copysign(1, pose_of(face).yaw) == math.copysign(1, shift) or abs(pose_of(face).yaw) < 10
    assert ("turned_away" in quality(seen, face=face).reasons) == turned


def test_roll_is_the_angle_between_the_eyes() -> None:
    points = ALIGNMENTS[ALIGNMENT].points
    for degrees in (-60, -20, 0, 35, 80):
        turn = complex(math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
        a, b, c, d, e = ((z.real + 200, z.imag + 200) for z in (complex(x, y) * turn for x, y in points))
        face = Face(Box(0, 0, 400, 400), (a, b, c, d, e), 0.9)
        assert pose_of(face).roll == pytest.approx(degrees, abs=1)
        assert abs(pose_of(face).yaw) < 3
