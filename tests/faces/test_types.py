"""Tests that every type checks itself."""

from __future__ import annotations

import math

import numpy as np
import pytest

from faces.types import AlignedCrop, Box, Condition, Embedding, Face, Image, Role, SpaceMismatch, Spectrum

POINTS = ((1.0, 1.0), (4.0, 5.0), (2.0, 3.0), (1.0, 6.0), (4.0, 6.0))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_an_image_is_uint8_with_three_channels(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        Image(pixels, Spectrum.VIS)
    with pytest.raises(ValueError, match="uint8"):
        AlignedCrop(pixels, "arcface-112", 30.0, Spectrum.VIS)


def test_pixels_and_vectors_are_read_only() -> None:
    image = Image(np.zeros((2, 3, 3), np.uint8), Spectrum.NIR)
    assert (image.width, image.height) == (3, 2)
    with pytest.raises(ValueError, match="read-only"):
        image.pixels[0, 0] = 1
    embedding = Embedding(np.array([1, 0], np.float32), "sp-a", Role.PROBE)
    with pytest.raises(ValueError, match="read-only"):
        embedding.vector[0] = 0


@pytest.mark.parametrize("values", [(0, 0, 0, 1), (0, 0, 1, -1), (math.nan, 0, 1, 1), (0, math.inf, 1, 1)])
def test_a_box_is_finite_and_has_an_area(values: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="box"):
        Box(*values)


def test_a_face_has_five_finite_landmarks_and_a_score() -> None:
    box = Box(0, 0, 9, 9)
    assert Face(box, POINTS, 0.5).inter_eye_px == 5.0
    with pytest.raises(ValueError, match="five"):
        Face(box, POINTS[:4], 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finite"):
        Face(box, ((math.nan, 0.0), *POINTS[1:]), 0.5)
    with pytest.raises(ValueError, match="score"):
        Face(box, POINTS, 1.2)


@pytest.mark.parametrize("vector", [[0.0, 0.0], [2.0, 0.0], [math.nan, 1.0]])
def test_an_embedding_is_finite_and_of_unit_norm(vector: list[float]) -> None:
    with pytest.raises(ValueError, match="unit norm"):
        Embedding(np.array(vector, np.float32), "sp-a", Role.PROBE)


def test_embeddings_of_different_spaces_are_not_compared() -> None:
    one = Embedding(np.array([0.6, 0.8], np.float32), "sp-a", Role.PROBE)
    two = Embedding(np.array([1.0, 0.0], np.float32), "sp-a", Role.REFERENCE)
    assert one.score(two) == pytest.approx(0.6)
    with pytest.raises(SpaceMismatch):
        one.score(Embedding(two.vector, "sp-b", Role.REFERENCE))


def test_a_condition_is_written_as_in_reports_and_manifests() -> None:
    assert str(Condition(Spectrum.NIR, masked=True)) == "nir-masked"
    assert str(Condition(Spectrum.VIS, masked=False)) == "vis-unmasked"
