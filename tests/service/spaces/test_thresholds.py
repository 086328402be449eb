"""Installed thresholds lie over those of the bundle: monotone, named, and borne out by their data."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faces.calibration import Calibration, OperatingPoint, PairPoints
from faces.types import CONDITIONS, PAIRS, Pair
from service.errors import InvalidThresholds
from service.matching.rules import Options, Rules
from service.spaces.threshold_checks import check_table
from service.spaces.threshold_table import CameraThresholds, ThresholdTable
from service.spaces.thresholds import InForce, Installed, Origin

VIS, _, NIR, NIR_MASKED = CONDITIONS
FMRS = (1e-2, 1e-3, 1e-4)
CLEAR, MASKED = Pair.with_clear_reference(VIS), Pair.with_clear_reference(NIR_MASKED)
OTHER = Pair(NIR, NIR_MASKED)
SPACE = "sp-0123"


def points(
    pair: Pair,
    scores: dict[float, float],
    *,
    non_mated: int = 100_000,
    subjects: int = 50,
    upper: float = 2.0,
) -> PairPoints:
    return PairPoints(
        reference=pair.reference,
        probe=pair.probe,
        subjects=subjects,
        mated=10,
        non_mated=non_mated,
        points=tuple(
            OperatingPoint(fmr=fmr, threshold=score, fmr_upper=min(1.0, upper * fmr))
            for fmr, score in scores.items()
        ),
    )


BUNDLE = Calibration(
    data="made up",
    synthetic="all",
    command="none",
    date="2026-11-29",
    default_fmr=1e-4,
    duplicate_fmr=1e-4,
    pairs=tuple(
        points(Pair.with_clear_reference(probe), dict(zip(FMRS, (0.3, 0.4, 0.5), strict=True)))
        for probe in CONDITIONS
    ),
)


def table(*cameras: CameraThresholds, space_id: str = SPACE) -> ThresholdTable:
    return ThresholdTable(space_id=space_id, made_at="now", data="made up", cameras=cameras)


def of_all(*pairs: PairPoints) -> CameraThresholds:
    return CameraThresholds(camera=None, pairs=pairs)


def at(in_force: InForce, camera: str | None, pair: Pair, fmr: float) -> OperatingPoint:
    return in_force.of(camera).calibration.at(pair, fmr)


def test_without_an_installation_the_bundles_own_thresholds_count() -> None:
    in_force = InForce(BUNDLE)
    assert in_force.of(None).calibration is BUNDLE
    assert in_force.of("door").calibration is BUNDLE
    assert in_force.version is None


def test_an_installed_point_replaces_the_bundles_and_others_stay() -> None:
    installed = Installed(3, table(of_all(points(MASKED, {1e-2: 0.25, 1e-3: 0.45}))))
    in_force = InForce(BUNDLE, installed)
    assert [at(in_force, None, MASKED, fmr).threshold for fmr in FMRS] == [0.25, 0.45, 0.5]
    assert [at(in_force, None, MASKED, fmr).set_by for fmr in FMRS] == ["version 3", "version 3", "everybody"]
    assert [at(in_force, None, CLEAR, fmr).threshold for fmr in FMRS] == [0.3, 0.4, 0.5]
    assert in_force.of(None).calibration.id != BUNDLE.id
    assert in_force.of(None).origins == {(MASKED, 1e-2): Origin(3, None), (MASKED, 1e-3): Origin(3, None)}


def test_a_stricter_point_of_the_bundle_is_raised_to_what_the_site_measured_with_its_bound() -> None:
    installed = Installed(1, table(of_all(points(MASKED, {1e-2: 0.48, 1e-3: 0.62}))))
    in_force = InForce(BUNDLE, installed)
    strict = at(in_force, None, MASKED, 1e-4)
    assert (strict.threshold, strict.set_by) == (0.62, "version 1")
    # What the site saw at this score is worse than the FMR that is asked for, and the answer says so.
    assert strict.fmr_upper == 2e-3
    assert in_force.of(None).origins[MASKED, 1e-4] == Origin(1, None)


def test_a_looser_point_of_the_bundle_is_never_stricter_than_an_installed_stricter_one() -> None:
    in_force = InForce(BUNDLE, Installed(1, table(of_all(points(MASKED, {1e-4: 0.35})))))
    assert [at(in_force, None, MASKED, fmr).threshold for fmr in FMRS] == [0.3, 0.35, 0.35]


def test_a_camera_has_its_own_and_for_the_rest_those_of_all() -> None:
    installed = Installed(
        7,
        table(
            of_all(points(MASKED, {1e-3: 0.41})),
            CameraThresholds(camera="door", pairs=(points(MASKED, {1e-2: 0.2}),)),
        ),
    )
    in_force = InForce(BUNDLE, installed)
    assert [at(in_force, "door", MASKED, fmr).threshold for fmr in FMRS] == [0.2, 0.41, 0.5]
    assert at(in_force, "door", MASKED, 1e-2).set_by == "version 7, camera door"
    assert at(in_force, "door", MASKED, 1e-3).set_by == "version 7"
    assert at(in_force, None, MASKED, 1e-2).threshold == 0.3
    assert in_force.of("gate") is in_force.of(None)
    assert in_force.cameras == ("door",)
    assert at(in_force, "door", CLEAR, 1e-2).threshold == 0.3


def test_a_pair_that_the_bundle_lacks_is_calibrated_by_the_site() -> None:
    scores = {1e-3: 0.7, 1e-4: 0.8}
    in_force = InForce(BUNDLE, Installed(2, table(of_all(points(OTHER, scores)))))
    assert at(in_force, None, OTHER, 1e-4).threshold == 0.8
    # Without the default FMR the pair stays uncalibrated: nothing is guessed.
    short = InForce(BUNDLE, Installed(2, table(of_all(points(OTHER, {1e-3: 0.7})))))
    assert not short.of(None).calibration.has(OTHER)


def test_the_default_fmr_may_be_installed() -> None:
    in_force = InForce(BUNDLE, Installed(2, table(of_all(points(MASKED, {1e-3: 0.7}))), default_fmr=1e-3))
    found = in_force.of(None)
    rules = Rules.of(found.calibration, Options(), comparisons=1, origins=found.origins)
    rule = rules.rule([VIS], [NIR_MASKED])
    assert (rule.threshold, rule.target_fmr, rule.origin) == (0.7, 1e-3, Origin(2, None))
    clear = rules.rule([VIS], [VIS])
    assert (clear.threshold, clear.origin) == (0.4, None)


SCORES = st.lists(st.floats(-1, 1), min_size=1, max_size=5)
RATES = st.sets(st.sampled_from((0.1, 1e-2, 3e-3, 1e-3, 2e-4, 1e-4, 1e-5)), min_size=1, max_size=5)


@given(RATES, SCORES, RATES, SCORES)
def test_whatever_is_installed_a_stricter_fmr_never_has_a_lower_threshold(
    rates: set[float], scores: list[float], other: set[float], more: list[float]
) -> None:
    def made(fmrs: set[float], values: list[float]) -> PairPoints:
        count = min(len(fmrs), len(values))
        return points(
            MASKED, dict(zip(sorted(fmrs, reverse=True)[:count], sorted(values)[:count], strict=True))
        )

    installed = Installed(
        1, table(of_all(made(rates, scores)), CameraThresholds(camera="d", pairs=(made(other, more),)))
    )
    in_force = InForce(BUNDLE, installed)
    for camera in (None, "d"):
        found = in_force.of(camera).calibration.points(MASKED)
        assert [p.threshold for p in found] == sorted(p.threshold for p in found)
        assert {p.fmr for p in found} >= set(FMRS)
        assert all(p.fmr_upper > 0 for p in found)


def test_a_table_that_its_data_bear_out_is_taken() -> None:
    check_table(table(of_all(points(MASKED, {1e-2: 0.3, 1e-3: 0.4}, non_mated=3000))), SPACE, BUNDLE)


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (points(MASKED, {1e-3: 0.4}, non_mated=2999), "FMR 0.001 takes 3000 comparisons of different people"),
        (points(MASKED, {1e-2: 0.4}, subjects=9), "9 people are too few"),
        (
            points(MASKED, {1e-2: 0.4}, non_mated=500, upper=0.5),
            "lower than 500 comparisons can show, 0.00599",
        ),
        (points(MASKED, {2e-2: 0.4}), "which the bundle does not have"),
        (points(OTHER, {1e-3: 0.4}), "the bundle has no threshold for this pair"),
        (points(MASKED, {}), "there are no points"),
    ],
)
def test_a_table_without_the_data_for_it_is_refused(pairs: PairPoints, said: str) -> None:
    with pytest.raises(InvalidThresholds, match=said):
        check_table(table(CameraThresholds(camera="door", pairs=(pairs,))), SPACE, BUNDLE)


def test_a_table_of_another_space_is_refused() -> None:
    with pytest.raises(InvalidThresholds, match="measured in space sp-other"):
        check_table(table(of_all(points(MASKED, {1e-2: 0.3})), space_id="sp-other"), SPACE, BUNDLE)


def test_a_table_that_is_not_monotone_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="loose to strict"):
        points(MASKED, {1e-2: 0.5, 1e-3: 0.4})


def test_a_pair_or_a_camera_stands_once() -> None:
    pair = points(MASKED, {1e-2: 0.3})
    with pytest.raises(ValueError, match="once at most"):
        of_all(pair, pair)
    with pytest.raises(ValueError, match="once at most"):
        table(of_all(pair), of_all(pair))


def test_every_pair_of_conditions_can_be_installed() -> None:
    installed = Installed(1, table(of_all(*(points(pair, dict.fromkeys(FMRS, 0.6)) for pair in PAIRS))))
    made = InForce(BUNDLE, installed).of(None).calibration
    assert [p.pair for p in made.pairs] == list(PAIRS)
    assert all(math.isclose(p.points[0].threshold, 0.6) for p in made.pairs)
