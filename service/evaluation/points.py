"""Sets the thresholds that a site's own comparisons support, each with the upper bound of its FMR.

A few dozen people make few impostors, so a bundle's rule of 30 (docs/export.md) would leave no threshold at
all. Here an FMR is supported if the comparisons, counted as independent ones, allow three false matches at
it (the rule of three: with none seen, 3/n is the 95 % bound). The bound says what that is worth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from faces.calibration import Method, OperatingPoint, PairPoints
from faces.rates.bounds import design_effect, fmr_upper, tail_model
from faces.rates.metrics import ERRORS_NEEDED
from faces.rates.scores import Comparison
from faces.rates.tail import Tail, tail_of_comparison
from faces.types import Pair
from service.spaces.threshold_table import LEAST_PEOPLE

# What is too few or too high for one more threshold.
Limit = Literal["people", "comparisons", "scores"]
FMR_POINTS = (1e-2, 1e-3, 1e-4, 1e-5)
# What a supported FMR allows: the rule of three.
ALLOWED = 3.0
DIGITS = 1e6


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the impostor comparisons of a pair of conditions are worth.

    `people`: subjects with a probe that was compared with others; `independent`: as many independent
    comparisons give an interval as wide; `supports`: the strictest FMR with a threshold, None without any.
    `why`: what keeps the next one out; `limit` says it to programs, `next_fmr` is that FMR, if any.
    """

    probes: int
    people: int
    comparisons: int
    independent: float
    supports: float | None
    why: str
    limit: Limit | None = None
    next_fmr: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SitePoints:
    """`found`: None if no FMR is supported."""

    coverage: Coverage
    found: PairPoints | None


def site_points(
    pair: Pair,
    comparison: Comparison,
    *,
    fmr_points: Sequence[float] = FMR_POINTS,
    failed: int = 0,
) -> SitePoints:
    """Sets a threshold at every FMR that the comparison supports. `failed`: mated comparisons that a probe
    without a template prevented."""
    probes = len(comparison.probes.subjects)
    people = len(np.unique(comparison.probes.subjects))
    tail = tail_of_comparison(comparison)
    mated = comparison.scores[comparison.mated].astype(np.float64)
    points: list[OperatingPoint] = []
    limit: Limit | None
    next_fmr: float | None
    why, limit, next_fmr = "", None, None
    if not tail.total:
        return SitePoints(
            Coverage(probes, people, 0, 0.0, None, "nobody was compared with anybody else", "people"), None
        )
    independent = tail.total / design_effect(tail, tail.allowed(max(fmr_points)))
    # A large gallery does not make up for few people in front of the camera.
    if people < LEAST_PEOPLE:
        why = f"{people} people are too few for a threshold: take {LEAST_PEOPLE} at least"
        limit = "people"
    for fmr in () if why else sorted(fmr_points, reverse=True):
        if why := _unsupported(tail, fmr):
            limit, next_fmr = "comparisons", fmr
            break
        threshold, method = _threshold(tail, fmr)
        # Rounded up: a shorter number must not let one more comparison in.
        threshold = math.ceil(max(threshold, points[-1].threshold if points else -1.0) * DIGITS) / DIGITS
        if threshold > 1.0:
            why = f"FMR {fmr:g} would need a threshold above the largest score"
            limit, next_fmr = "scores", fmr
            break
        points.append(
            OperatingPoint(
                fmr=fmr,
                threshold=threshold,
                fmr_upper=float(f"{fmr_upper(tail, threshold):.3g}"),
                fnmr=_fnmr(mated, failed, threshold),
                method=method,
            )
        )
    supports = points[-1].fmr if points else None
    coverage = Coverage(
        probes, people, tail.total, float(f"{independent:.3g}"), supports, why, limit, next_fmr
    )
    if not points:
        return SitePoints(coverage, None)
    found = PairPoints(
        reference=pair.reference,
        probe=pair.probe,
        subjects=people,
        mated=len(mated) + failed,
        non_mated=tail.total,
        points=tuple(points),
    )
    return SitePoints(coverage, found)


def _unsupported(tail: Tail, fmr: float) -> str:
    """Why the comparisons do not support an FMR; empty if they do."""
    independent = tail.total / design_effect(tail, tail.allowed(fmr))
    if independent * fmr >= ALLOWED * (1 - 1e-9):
        return ""
    return (
        f"FMR {fmr:g} takes {math.ceil(ALLOWED / fmr)} independent comparisons of different people, and"
        f" these are worth {independent:.0f}"
    )


def _threshold(tail: Tail, fmr: float) -> tuple[float, Method]:
    """Observed with 30 false matches that are as good as independent; else the tail is extrapolated, and the
    higher of both thresholds counts: no suggestion lets more through than its FMR in these comparisons."""
    allowed, observed = tail.allowed(fmr), tail.threshold(fmr)
    if allowed / design_effect(tail, allowed) >= ERRORS_NEEDED:
        return observed, "observed"
    try:
        model = tail_model(tail)
    except ValueError:
        return observed, "observed"
    if fmr >= model.share:
        return observed, "observed"
    return max(observed, model.threshold(fmr)), "extrapolated"


def _fnmr(mated: np.ndarray, failed: int, threshold: float) -> float | None:
    count = len(mated) + failed
    return round((int(np.count_nonzero(mated < threshold)) + failed) / count, 6) if count else None
