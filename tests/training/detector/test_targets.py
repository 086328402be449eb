"""Tests the assignment of faces to cells."""

from __future__ import annotations

import numpy as np
import pytest

from training.detector.scenes import FaceArrays
from training.detector.targets import BACKGROUND, IGNORED, SIZES, assign, cell_centres

CELLS = cell_centres(256)


def faces(*boxes: tuple[float, float, float, float], sure: bool = True) -> FaceArrays:
    count = len(boxes)
    return FaceArrays(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.zeros((count, 5, 2)),
        np.zeros(count, np.int8),
        np.full(count, sure),
    )


@pytest.mark.parametrize("side", [9.0, 20.0, 38.0, 60.0, 90.0, 150.0, 250.0])
@pytest.mark.parametrize("middle", [(100.3, 77.7), (128.0, 128.0), (61.0, 200.5)])
def test_a_face_of_any_size_is_assigned_to_cells_near_its_middle(
    side: float, middle: tuple[float, float]
) -> None:
    x, y = middle
    owner = assign(faces((x - side / 2, y - side / 2, x + side / 2, y + side / 2)), CELLS)
    learns = CELLS[owner == 0]
    assert len(learns)
    assert (np.abs(learns[:, :2] - middle) <= 1.25 * learns[:, 2:]).all()
    for stride in np.unique(learns[:, 2]):
        low, high = SIZES[int(stride)]
        assert low < side <= high


def test_cells_inside_a_doubtful_face_are_ignored() -> None:
    owner = assign(faces((40, 40, 120, 140), sure=False), CELLS)
    inside = (np.abs(CELLS[:, :2] - (80, 90)) <= (40, 50)).all(axis=1)
    assert (owner[inside] == IGNORED).all()
    beyond = (np.abs(CELLS[:, :2] - (80, 90)) > (60, 70)).any(axis=1)
    assert (owner[beyond] == BACKGROUND).all()


def test_the_smaller_of_two_faces_is_in_front() -> None:
    owner = assign(faces((50, 50, 86, 86), (52, 52, 80, 80)), CELLS)
    middle = np.argmin(np.abs(CELLS[:, :2] - (66, 66)).sum(axis=1) + 1e3 * (CELLS[:, 2] != 8))
    assert owner[middle] == 1


def test_a_scene_without_faces_is_all_background() -> None:
    assert (assign(faces(), CELLS) == BACKGROUND).all()
