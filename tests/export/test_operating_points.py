"""Operating points: no threshold that the data cannot support, and each keeps its FMR, in every group."""

from __future__ import annotations

import numpy as np
import pytest

from export.operating_points import Mated, Unsupported, operating_points
from faces.calibration import EVERYBODY
from faces.rates.tail import Impostors
from faces.types import Condition, Pair, Spectrum

NIR_MASKED = Pair.with_clear_reference(Condition(Spectrum.NIR, masked=True))


def impostors(people: int, *, seed: int = 0, answered: int | None = None) -> Impostors:
    """Non-mated scores around 0, one probe a person; only the first `answered` people have one."""
    rng = np.random.default_rng(seed)
    count = people if answered is None else answered
    scores = np.clip(rng.normal(0.0, 0.1, (count, people)), -1, 1).astype(np.float32)
    return Impostors(scores, np.eye(people, dtype=np.float32), np.arange(count), (None,) * people)


def mated(count: int, *, failed: int = 0, seed: int = 0) -> Mated:
    return Mated(np.random.default_rng(seed).normal(0.6, 0.1, count).astype(np.float32), failed)


def others(data: Impostors) -> np.ndarray:
    scores = data.probes @ data.references.T
    off = np.ones(scores.shape, bool)
    off[np.arange(len(data.own)), data.own] = False
    return scores[off]


@pytest.mark.parametrize(("people", "observed"), [(100, 1), (300, 2), (800, 3)])
def test_points_that_people_support_are_observed_and_the_next_is_extrapolated(
    people: int, observed: int
) -> None:
    made = operating_points(NIR_MASKED, impostors(people), mated(people))
    assert [point.fmr for point in made.points] == [1e-2, 1e-3, 1e-4, 1e-5][: observed + 1]
    assert [p.method for p in made.points] == ["observed"] * observed + ["extrapolated"]
    assert made.pair == NIR_MASKED
    assert made.non_mated == people * (people - 1)


def test_too_few_subjects_are_refused() -> None:
    with pytest.raises(Unsupported, match="20 subjects"):
        operating_points(NIR_MASKED, impostors(20), mated(20))


def test_every_observed_threshold_keeps_its_fmr_and_the_next_lower_score_does_not() -> None:
    data = impostors(400)
    off = others(data)
    for point in operating_points(NIR_MASKED, data, mated(400)).points:
        if point.method == "observed":
            assert np.mean(off >= point.threshold) <= point.fmr
            assert np.mean(off >= point.threshold - 2e-6 - np.diff(np.sort(off)).max()) > point.fmr
            assert point.fmr_upper > np.mean(off >= point.threshold)


def test_failed_probes_are_rejected_mates_and_no_impostors() -> None:
    whole = operating_points(NIR_MASKED, impostors(300), mated(300))
    holed = operating_points(NIR_MASKED, impostors(300, answered=240), mated(240, failed=60))
    assert whole.mated == holed.mated == 300
    assert holed.non_mated == 240 * 299
    assert whole.points[0].fnmr is not None
    assert holed.points[0].fnmr == pytest.approx(whole.points[0].fnmr * 0.8 + 0.2, abs=0.01)


def test_impostors_alone_give_thresholds_without_an_fnmr() -> None:
    made = operating_points(NIR_MASKED, impostors(300), Mated())
    assert made.mated == 0
    assert all(point.fnmr is None for point in made.points)


def grouped(sizes: dict[str, tuple[int, float]], *, seed: int = 5) -> Impostors:
    """People of groups, by name: how many, and how much more alike they are among themselves."""
    rng = np.random.default_rng(seed)
    labels = [name for name, (count, _) in sizes.items() for _ in range(count)]
    people = len(labels)
    scores = rng.normal(0, 0.1, (people, people))
    at = 0
    for count, alike in sizes.values():
        scores[at : at + count, at : at + count] += alike
        at += count
    ids = np.arange(people)
    scores[ids, ids] = 0.99
    groups = tuple(None if name == "unlabelled" else name for name in labels)
    return Impostors(scores.astype(np.float32), np.eye(people, dtype=np.float32), ids, groups)


def test_the_stated_fmr_holds_within_the_group_that_is_most_alike() -> None:
    data = grouped({"unlabelled": (500, 0.0), "east": (300, 0.15), "west": (300, 0.02), "few": (120, 0.02)})
    made = operating_points(NIR_MASKED, data, Mated())
    for point in made.points:
        assert [rate.group for rate in point.groups] == ["east", "west"], "249 people are too few"
        east, west = point.groups
        assert point.set_by == "east"
        assert point.threshold == pytest.approx(max(east.own, west.own), abs=2e-6)
        assert west.fmr < east.fmr or point.fmr < 1e-3
        assert (east.people, east.pairs) == (300, 300 * 299 // 2)
        within = others(data.within("east"))
        assert east.fmr == pytest.approx(float(np.mean(within >= point.threshold)), rel=2e-3)
        if east.method == "observed":
            assert east.fmr <= point.fmr
        assert east.fmr_upper > east.fmr
    # Without the rule the group misses the rate by far.
    plain = operating_points(
        NIR_MASKED, Impostors(data.probes, data.references, data.own, (None,) * 1220), Mated()
    )
    assert plain.points[1].set_by == EVERYBODY
    within = others(data.within("east"))
    assert np.mean(within >= plain.points[1].threshold) > 2 * plain.points[1].fmr


def alike(level: float, *, share: float = 1.0) -> Impostors:
    """300 people; this share of all comparisons gives one score, the others give 0."""
    scores = np.where(np.random.default_rng(0).random((300, 300)) < share, level, 0.0).astype(np.float32)
    return Impostors(scores, np.eye(300, dtype=np.float32), np.arange(300), (None,) * 300)


@pytest.mark.parametrize("level", [1.0, 1.0000001])
def test_a_network_that_gives_every_face_one_template_is_refused(level: float) -> None:
    with pytest.raises(Unsupported, match=r"nir-masked: no threshold keeps FMR 0\.01"):
        operating_points(NIR_MASKED, alike(level), mated(300))


def test_a_point_above_the_largest_score_is_left_out_and_looser_ones_stay() -> None:
    made = operating_points(NIR_MASKED, alike(1.0, share=0.004), mated(300))
    assert [point.fmr for point in made.points] == [1e-2]
    assert made.points[0].threshold <= 1.0
