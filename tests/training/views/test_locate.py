"""The choice of the subject's face, and the two-point alignment if only eyes are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from faces.align import ALIGNMENTS, align, similarity
from faces.types import Box, Face, Image, Spectrum
from tests.training.data.pictures import noise
from training.views.locate import NoFace, face_on_eyes, locate


def face_at(x: float, y: float, size: float) -> Face:
    """A face of the template's proportions around a point."""
    made = face_on_eyes(((x - size / 4, y), (x + size / 4, y)))
    return Face(made.box, made.landmarks, 0.9)


PICTURE = Image(np.zeros((400, 600, 3), np.uint8), Spectrum.NIR)
LARGE, MIDDLE = face_at(500, 150, 160), face_at(300, 190, 90)


def test_the_largest_face_is_chosen_or_the_one_over_the_middle() -> None:
    def both(_: Image) -> tuple[Face, ...]:
        return (MIDDLE, LARGE)

    assert locate(PICTURE, detect=both).face is LARGE
    assert locate(PICTURE, detect=both, choice="central").face is MIDDLE
    assert locate(PICTURE, detect=lambda _: (LARGE,), choice="central").face is LARGE
    with pytest.raises(NoFace, match="finds no face"):
        locate(PICTURE, detect=lambda _: ())


def test_given_eyes_choose_the_face_that_has_them() -> None:
    first, second = MIDDLE.landmarks[0], MIDDLE.landmarks[1]
    near = ((first[0] + 3, first[1] - 2), (second[0] - 2, second[1] + 1))
    found = locate(PICTURE, detect=lambda _: (LARGE, MIDDLE), eyes=near)
    assert found.face is MIDDLE
    assert found.how == "detected"


def test_without_a_matching_face_the_eyes_alone_place_the_crop() -> None:
    eyes = ((120.0, 200.0), (180.0, 215.0))
    found = locate(PICTURE, detect=lambda _: (LARGE, MIDDLE), eyes=eyes)
    assert found.how == "eyes"
    assert np.array(found.face.landmarks[:2]) == pytest.approx(np.array(eyes))
    matrix = similarity(found.face.landmarks, ALIGNMENTS["arcface-112"])
    for eye, target in zip(eyes, ALIGNMENTS["arcface-112"].points, strict=False):
        assert matrix[:, :2] @ np.array(eye) + matrix[:, 2] == pytest.approx(target)
    box = found.face.box
    assert all(box.x < x < box.x + box.width for x, _ in found.face.landmarks)
    scale = math.dist(*eyes) / math.dist(*ALIGNMENTS["arcface-112"].points[:2])
    assert box.width == pytest.approx(80 * scale)


def test_eyes_outside_the_picture_or_in_one_point_are_no_face() -> None:
    with pytest.raises(NoFace, match="outside the picture"):
        locate(PICTURE, detect=lambda _: (MIDDLE,), eyes=((10.0, 10.0), (700.0, 10.0)))
    with pytest.raises(NoFace, match="one point"):
        locate(PICTURE, detect=lambda _: (), eyes=((10.0, 10.0), (10.0, 10.0)))


@pytest.mark.parametrize("alignment", sorted(ALIGNMENTS))
def test_an_aligned_crop_is_unchanged_by_alignment(alignment: str) -> None:
    side = ALIGNMENTS[alignment].side_px
    image = Image(noise(1, side=side), Spectrum.VIS)
    found = locate(image, detect=None, aligned_to=alignment)
    assert found.how == "aligned"
    difference = np.abs(align(image, found.face, alignment).pixels.astype(int) - image.pixels)
    assert difference.max() <= 1
    with pytest.raises(NoFace, match="square"):
        locate(PICTURE, detect=None, aligned_to=alignment)


def test_a_face_on_given_eyes_has_a_box() -> None:
    assert isinstance(face_on_eyes(((10.0, 10.0), (40.0, 10.0))).box, Box)
