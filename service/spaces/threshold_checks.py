"""Refuses thresholds that their own data does not bear out."""

from __future__ import annotations

import math

from faces.calibration import Calibration, OperatingPoint, PairPoints
from faces.rates.intervals import poisson_upper
from service.errors import InvalidThresholds
from service.spaces.threshold_table import LEAST_PEOPLE, CameraThresholds, ThresholdTable
from service.spaces.thresholds import same_fmr

# The rule of three: with no false match in 3/FMR comparisons, the FMR is the 95 % upper bound.
COMPARISONS_NEEDED = 3.0


def check_table(table: ThresholdTable, space_id: str, bundle: Calibration) -> None:
    """Raises InvalidThresholds, which names the first fault, unless the table may decide in this space."""
    if table.space_id != space_id:
        raise InvalidThresholds(
            f"these thresholds were measured in space {table.space_id}, and the active one is {space_id}:"
            " scores of another model mean something else; evaluate again"
        )
    if table.cohort != bundle.cohort_id:
        raise InvalidThresholds(other_scores(table, bundle))
    if not table.cameras:
        raise InvalidThresholds("the table has no thresholds")
    for one in table.cameras:
        for points in one.pairs:
            _check_pair(one, points, bundle)


def other_scores(table: ThresholdTable, bundle: Calibration) -> str:
    """Why thresholds of the same space may not decide, and what to do."""
    measured, now = (
        "plain cosines" if one is None else f"scores by the cohort {one}"
        for one in (table.cohort, bundle.cohort_id)
    )
    return (
        f"these thresholds were measured on {measured}, and the bundle of this space decides by {now}: the"
        " numbers do not compare; evaluate your photos again and install what that suggests"
    )


def _check_pair(of: CameraThresholds, points: PairPoints, bundle: Calibration) -> None:
    where = f"{points.probe} probes against {points.reference} references"
    where += "" if of.camera is None else f", camera {of.camera}"
    if not points.points:
        raise InvalidThresholds(f"{where}: there are no points")
    if points.subjects < LEAST_PEOPLE:
        raise InvalidThresholds(
            f"{where}: {points.subjects} people are too few for a threshold, {LEAST_PEOPLE} are the least"
        )
    for point in points.points:
        _check_point(where, point, points, bundle)
    if not bundle.has(points.pair):
        lacking = [
            fmr
            for fmr in (bundle.default_fmr, bundle.duplicate_fmr)
            if not any(same_fmr(point.fmr, fmr) for point in points.points)
        ]
        if lacking:
            raise InvalidThresholds(
                f"{where}: the bundle has no threshold for this pair, so the table must have one at FMR"
                f" {' and '.join(f'{fmr:g}' for fmr in lacking)} too"
            )


def _check_point(where: str, point: OperatingPoint, points: PairPoints, bundle: Calibration) -> None:
    needed = math.ceil(COMPARISONS_NEEDED / point.fmr * (1 - 1e-9))
    if points.non_mated < needed:
        raise InvalidThresholds(
            f"{where}: FMR {point.fmr:g} takes {needed} comparisons of different people at least, and"
            f" {points.non_mated} were made"
        )
    least = poisson_upper(0) / points.non_mated
    # Bounds are written with three digits.
    if point.fmr_upper < least * 0.995:
        raise InvalidThresholds(
            f"{where}: at FMR {point.fmr:g} the bound {point.fmr_upper:g} is lower than {points.non_mated}"
            f" comparisons can show, {least:.3g}"
        )
    if not any(same_fmr(point.fmr, common) for common in bundle.common):
        known = ", ".join(f"{fmr:g}" for fmr in bundle.common)
        raise InvalidThresholds(
            f"{where}: no request could ask for FMR {point.fmr:g}, which the bundle does not have: take some"
            f" of {known}"
        )
