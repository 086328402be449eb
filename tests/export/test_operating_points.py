"""Operating points: no threshold that the data cannot support, and each keeps its FMR."""

from __future__ import annotations

import numpy as np
import pytest

from export.operating_points import Comparisons, Unsupported, operating_points
from faces.types import Condition, Spectrum

NIR_MASKED = Condition(Spectrum.NIR, masked=True)


def compared(subjects: int, *, seed: int = 0, failed: int = 0, single: int = 0) -> Comparisons:
    """Mated scores around .6, non-mated around 0; some probes failed, some have no second photo."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0.0, 0.1, (subjects, subjects)).astype(np.float32)
    scores[np.arange(subjects), np.arange(subjects)] = rng.normal(0.6, 0.1, subjects)
    answered, mated = np.ones(subjects, bool), np.ones(subjects, bool)
    answered[:failed] = False
    mated[subjects - single :] = False
    return Comparisons(np.clip(scores, -1, 1), np.arange(subjects), answered, mated)


@pytest.mark.parametrize(("subjects", "points"), [(100, 1), (300, 2), (800, 3)])
def test_a_calibration_has_only_points_that_its_subjects_support(subjects: int, points: int) -> None:
    made = operating_points(NIR_MASKED, compared(subjects))
    assert [point.fmr for point in made.points] == [1e-2, 1e-3, 1e-4][:points]
    assert made.condition == NIR_MASKED
    assert made.non_mated == subjects * (subjects - 1)


def test_too_few_subjects_are_refused() -> None:
    with pytest.raises(Unsupported, match="20 subjects"):
        operating_points(NIR_MASKED, compared(20))


def test_every_threshold_keeps_its_fmr_and_the_next_lower_score_does_not() -> None:
    data = compared(400)
    off = data.scores[~np.eye(400, dtype=bool)]
    for point in operating_points(NIR_MASKED, data).points:
        assert np.mean(off >= point.threshold) <= point.fmr
        assert np.mean(off >= point.threshold - 2e-6 - np.diff(np.sort(off)).max()) > point.fmr
        assert point.fmr_upper > np.mean(off >= point.threshold)


def test_failed_probes_are_rejected_mates_and_no_impostors() -> None:
    whole, holed = (
        operating_points(NIR_MASKED, compared(300)),
        operating_points(NIR_MASKED, compared(300, failed=60)),
    )
    assert whole.mated == holed.mated == 300
    assert holed.non_mated == 240 * 299
    assert holed.points[0].fnmr == pytest.approx(whole.points[0].fnmr * 0.8 + 0.2, abs=0.01)


def test_subjects_with_one_photo_give_no_mated_comparison() -> None:
    made = operating_points(NIR_MASKED, compared(300, single=100))
    assert (made.mated, made.non_mated) == (200, 300 * 299)


def alike(level: float, *, share: float = 1.0) -> Comparisons:
    """300 subjects; this share of all comparisons gives one score, the others give 0."""
    scores = np.where(np.random.default_rng(0).random((300, 300)) < share, level, 0.0).astype(np.float32)
    every = np.ones(300, bool)
    return Comparisons(scores, np.arange(300), every, every)


@pytest.mark.parametrize("level", [1.0, 1.0000001])
def test_a_network_that_gives_every_face_one_template_is_refused(level: float) -> None:
    with pytest.raises(Unsupported, match=r"nir-masked: no threshold keeps FMR 0\.01"):
        operating_points(NIR_MASKED, alike(level))


def test_a_point_above_the_largest_score_is_left_out_and_looser_ones_stay() -> None:
    made = operating_points(NIR_MASKED, alike(1.0, share=0.004))
    assert [point.fmr for point in made.points] == [1e-2]
    assert made.points[0].threshold <= 1.0
