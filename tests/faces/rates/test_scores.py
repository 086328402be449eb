"""Tests the checks and the scores of a comparison."""

from __future__ import annotations

import numpy as np
import pytest

from faces.rates.scores import Comparison, Side
from tests.faces.rates.sides import noisy, side


def test_scores_are_cosines_and_mated_pairs_share_a_subject() -> None:
    comparison = Comparison(
        side(np.array([[1.0, 0.0], [1.0, 1.0]]), [4, 9], of="p"),
        side(np.array([[0.0, 2.0], [3.0, 0.0], [1.0, 0.0]]), [9, 4, 7], of="g"),
    )
    half = np.sqrt(0.5)
    assert comparison.scores == pytest.approx(np.array([[0, 1, 1], [half, half, half]]))
    assert comparison.mated.tolist() == [[False, True, False], [True, False, False]]
    assert comparison.scores.dtype == np.float32


def test_probe_and_reference_of_one_photo_are_refused() -> None:
    one = side(np.eye(3), [1, 2, 3], of="photo")
    with pytest.raises(ValueError, match=r"Never build probe and gallery from one photo: photo/0\.png"):
        Comparison(one, side(np.eye(3), [1, 2, 3], of="photo"))
    Comparison(one, side(np.eye(3), [1, 2, 3], of="another"))


def test_a_side_with_wrong_shapes_or_norms_is_refused() -> None:
    ids, names = np.array([1, 2]), ("a", "b")
    rows = np.eye(2, dtype=np.float32)
    Side(rows, ids, names)
    for wrong in (rows * 2, rows * np.float32(np.nan), rows[:1]):
        with pytest.raises(ValueError):
            Side(wrong, ids, names)
    with pytest.raises(ValueError, match="float32"):
        Side(rows.astype(np.float64), ids, names)
    with pytest.raises(ValueError, match="sources"):
        Side(rows, ids, ("a",))
    with pytest.raises(ValueError, match="int64"):
        Side(rows, ids.astype(np.int32), names)


def test_empty_sides_and_other_dimensions_are_refused() -> None:
    full, wider = side(np.eye(2), [1, 2], of="p"), side(np.eye(3), [1, 2, 3], of="g")
    with pytest.raises(ValueError, match="dimensions"):
        Comparison(full, wider)
    nothing = Side(np.empty((0, 2), np.float32), np.empty(0, np.int64), ())
    with pytest.raises(ValueError, match="at least one reference"):
        Comparison(full, nothing)
    with pytest.raises(ValueError, match="needs probes"):
        Comparison(nothing, full)


def test_failures_are_samples_of_their_subject() -> None:
    probes = side(np.eye(2), [5, 3], of="p", failed=(3, 8))
    assert probes.samples == 4
    assert probes.everybody().tolist() == [3, 5, 8]
    assert noisy(3, each=2, noise=0.1).probes.samples == 6
