"""Each comparison is decided by its own pair of conditions, and a gallery's size by arithmetic."""

from __future__ import annotations

import pytest

from faces.calibration import (
    Calibration,
    OperatingPoint,
    PairPoints,
    UncalibratedPair,
    fmr_for_fpir,
    fpir_at,
)
from faces.types import CONDITIONS, PAIRS, Condition, Pair, Spectrum
from service.errors import UnsupportedFmrPoint
from service.matching.rules import Options, Rules

VIS, VIS_MASKED, NIR, NIR_MASKED = CONDITIONS
FMRS = (1e-2, 1e-3, 1e-4)


def table(pairs: tuple[Pair, ...]) -> Calibration:
    """Thresholds that name their pair: .1 for each pair's place in PAIRS / 10, and .05 a decade."""
    return Calibration(
        data="made up",
        synthetic="all",
        command="none",
        date="2026-11-28",
        default_fmr=1e-4,
        duplicate_fmr=1e-4,
        pairs=tuple(
            PairPoints(
                reference=pair.reference,
                probe=pair.probe,
                subjects=2,
                mated=0,
                non_mated=2,
                points=tuple(
                    OperatingPoint(fmr=fmr, threshold=threshold(pair, fmr), fmr_upper=fmr) for fmr in FMRS
                ),
            )
            for pair in pairs
        ),
    )


def threshold(pair: Pair, fmr: float) -> float:
    return round(0.2 + PAIRS.index(pair) / 100 + 0.05 * FMRS.index(fmr), 6)


EVERY = table(PAIRS)
CLEAR = table(tuple(Pair.with_clear_reference(probe) for probe in CONDITIONS))


def test_a_comparison_takes_the_threshold_of_its_own_pair() -> None:
    rules = Rules.of(EVERY, Options(fmr=1e-3), comparisons=10)
    for pair in PAIRS:
        rule = rules.rule([pair.reference], [pair.probe])
        assert (rule.pair, rule.threshold, rule.target_fmr) == (pair, threshold(pair, 1e-3), 1e-3)
        assert rule.accepts(threshold(pair, 1e-3))
        assert not rule.accepts(threshold(pair, 1e-3) - 1e-6)


def test_a_mask_state_that_cannot_be_told_takes_the_stricter_threshold() -> None:
    rules = Rules.of(EVERY, Options(), comparisons=10)
    rule = rules.rule([VIS], [NIR, NIR_MASKED])
    assert rule.threshold == threshold(Pair(VIS, NIR_MASKED), 1e-4)
    assert rules.rule([VIS], [NIR_MASKED, NIR]) == rule


def test_a_pair_without_calibration_borrows_nothing() -> None:
    rules = Rules.of(CLEAR, Options(), comparisons=10)
    rule = rules.rule([NIR], [NIR])
    assert (rule.calibrated, rule.threshold, rule.target_fmr) == (False, None, None)
    assert not rule.accepts(1.0)
    assert rule.margin(1.0) is None
    # One of the conditions that a probe may be in is enough.
    assert rules.rule([VIS, NIR], [NIR]).threshold is None
    with pytest.raises(UncalibratedPair):
        CLEAR.at(Pair(NIR, NIR), 1e-4)


def test_a_threshold_of_the_callers_own_decides_everywhere_but_for_whoever_may_not_choose_freely() -> None:
    free = Rules.of(CLEAR, Options(threshold=0.5), comparisons=10)
    assert free.rule([NIR], [NIR]).accepts(0.5)
    assert free.rule([NIR], [NIR]).target_fmr is None
    limited = Rules.of(CLEAR, Options(threshold=0.5, calibrated_only=True), comparisons=10)
    assert not limited.rule([NIR], [NIR]).accepts(1.0)
    assert limited.rule([VIS], [NIR]).accepts(0.5)


def test_an_fmr_that_is_no_point_is_refused_before_any_work() -> None:
    with pytest.raises(UnsupportedFmrPoint) as caught:
        Rules.of(EVERY, Options(fmr=3e-4), comparisons=10)
    assert caught.value.extra["supported"] == list(FMRS)


@pytest.mark.parametrize(
    ("fpir", "comparisons", "fmr"),
    [(0.01, 1, 1e-2), (0.01, 10, 1e-3), (0.01, 11, 1e-4), (0.01, 100, 1e-4), (0.5, 1, 1e-2), (0.01, 0, 1e-2)],
)
def test_an_fpir_takes_the_loosest_point_that_keeps_it(fpir: float, comparisons: int, fmr: float) -> None:
    rules = Rules.of(EVERY, Options(fpir=fpir), comparisons=comparisons)
    assert rules.fmr == fmr
    assert rules.fpir is not None
    assert rules.fpir <= fpir * (1 + 1e-6)


def test_an_fpir_that_the_table_cannot_keep_is_refused_and_says_what_can_be_had() -> None:
    with pytest.raises(UnsupportedFmrPoint, match=r"needs FMR 1e-06.*fpir=0\.63 or more"):
        Rules.of(EVERY, Options(fpir=0.01), comparisons=10_000)


def test_fpir_and_fmr_are_each_others_inverse() -> None:
    assert fpir_at(1e-3, 1000) == pytest.approx(1 - 0.999**1000)
    assert fpir_at(1e-3, 1000) == pytest.approx(0.632305, abs=1e-6)
    assert fmr_for_fpir(0.01, 1000) == pytest.approx(1.005028e-5, rel=1e-5)
    for count in (1, 7, 100_000):
        assert fpir_at(fmr_for_fpir(0.02, count), count) == pytest.approx(0.02)


def test_the_loosest_threshold_is_over_all_pairs() -> None:
    assert Rules.of(EVERY, Options(), comparisons=1).loosest == threshold(PAIRS[0], 1e-4)
    assert Rules.of(EVERY, Options(threshold=0.7), comparisons=1).loosest == 0.7
    assert Condition(Spectrum.VIS, masked=False) == PAIRS[0].reference
