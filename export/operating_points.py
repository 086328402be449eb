"""Turns scores with subjects into operating points with confidence bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.calibration import ConditionPoints, OperatingPoint
from faces.types import Condition
from training.evaluation import metrics
from training.evaluation.intervals import subject_bootstrap

Floats = NDArray[np.float32]
FMR_POINTS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
UPPER_LEVEL = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Comparisons:
    """Comparisons of probes with one reference of each subject. `scores` float32 [m, n].

    `own` [m]: the column of probe i's subject. `answered` [m]: whether probe i gave a template. `mated` [m]:
    whether probe i is another photo than its subject's reference, so that the comparison with it is mated.
    The scores of failed probes are ignored.
    """

    scores: Floats
    own: NDArray[np.intp]
    answered: NDArray[np.bool_]
    mated: NDArray[np.bool_]

    @property
    def subjects(self) -> int:
        """How many subjects have a probe that gave a template."""
        return len(np.unique(self.own[self.answered]))

    @property
    def mated_scores(self) -> Floats:
        """The scores of the mated comparisons that were made: float32 [k]."""
        rows = np.flatnonzero(self.answered & self.mated)
        found: Floats = self.scores[rows, self.own[rows]]
        return found

    @property
    def failed(self) -> int:
        """How many mated comparisons could not be made."""
        return int(np.count_nonzero(self.mated & ~self.answered))


class Unsupported(ValueError):
    """The data cannot support a single operating point."""


def supported(condition: Condition, subjects: int, targets: Sequence[float] = FMR_POINTS) -> list[float]:
    """Returns the targets that so many subjects support, loosest first. Raises Unsupported if none is."""
    possible = [t for t in sorted(targets, reverse=True) if metrics.supports_fmr(subjects, t)]
    if not possible:
        named = ", ".join(f"{target:g}" for target in targets)
        raise Unsupported(
            f"{condition}: {subjects} subjects support no FMR of {named}"
            f" ({subjects * (subjects - 1) // 2} pairs; {metrics.ERRORS_NEEDED} false matches are needed)"
        )
    return possible


def operating_points(
    condition: Condition, compared: Comparisons, *, targets: Sequence[float] = FMR_POINTS
) -> ConditionPoints:
    """Sets thresholds at every target FMR that the number of subjects supports (rule of 30).

    A point whose threshold would lie above 1, the largest score, is left out: too many non-mated pairs reach
    it. Raises Unsupported if no point is left, or if no mated comparison could be made.
    """
    subjects = compared.subjects
    possible = supported(condition, subjects, targets)
    if not (compared.mated & compared.answered).any():
        raise Unsupported(f"{condition}: no probe with a template is another photo than its reference")
    rows, own = compared.scores[compared.answered], compared.own[compared.answered]
    off = np.ones(rows.shape, bool)
    off[np.arange(len(rows)), own] = False
    non_mated = rows[off]
    # Rounded up: a shorter number must not let one more comparison in.
    limits = [math.ceil(metrics.threshold_at_fmr(non_mated, target) * 1e6) / 1e6 for target in possible]
    reached = [(target, limit) for target, limit in zip(possible, limits, strict=True) if limit <= 1.0]
    if not reached:
        raise Unsupported(
            f"{condition}: no threshold keeps FMR {possible[0]:g}: more pairs of strangers than that score 1,"
            " as if the network gave every face one template"
        )
    return ConditionPoints(
        spectrum=condition.spectrum,
        masked=condition.masked,
        subjects=subjects,
        mated=int(np.count_nonzero(compared.mated)),
        non_mated=len(non_mated),
        points=tuple(_point(compared, fmr, limit) for fmr, limit in reached),
    )


def worst_case(
    compared: Mapping[Condition, Comparisons], points: Sequence[ConditionPoints]
) -> tuple[OperatingPoint, ...]:
    """Sets one threshold for all conditions at each FMR that all of them support.

    A global threshold must meet its FMR in the worst condition.
    """
    shared = set.intersection(*({point.fmr for point in c.points} for c in points))
    worst = []
    for fmr in sorted(shared, reverse=True):
        limit = max(point.threshold for c in points for point in c.points if point.fmr == fmr)
        each = [_point(one, fmr, limit) for one in compared.values()]
        worst.append(
            OperatingPoint(
                fmr=fmr,
                threshold=limit,
                fmr_upper=max(point.fmr_upper for point in each),
                fnmr=max(point.fnmr for point in each),
            )
        )
    return tuple(worst)


def strictest(points: Sequence[ConditionPoints], *, but_not_below: float) -> float:
    """Returns the smallest FMR that every condition supports and that is `but_not_below` or more.

    Raises Unsupported if the conditions share none.
    """
    shared = set.intersection(*({point.fmr for point in c.points} for c in points))
    enough = [fmr for fmr in shared if fmr >= but_not_below]
    if not enough:
        raise Unsupported("the conditions support no common FMR")
    return min(enough)


def _point(compared: Comparisons, fmr: float, threshold: float) -> OperatingPoint:
    fnmr = metrics.fnmr(compared.mated_scores, threshold, failed=compared.failed)
    upper = _fmr_upper(compared, threshold)
    return OperatingPoint(fmr=fmr, threshold=threshold, fmr_upper=upper, fnmr=round(fnmr, 6))


def _fmr_upper(compared: Comparisons, threshold: float) -> float:
    """Returns the one-sided 95 % upper bound of the FMR, by subject bootstrap over probes and references.

    A subject drawn twice counts twice on both sides. Only accepted pairs are read, so a thousand repeats over
    millions of comparisons cost little. The bound is never below the rule of three on the subjects' pairs: to
    see no false match does not show that there is none.
    """
    least = 3 / (compared.subjects * (compared.subjects - 1) / 2)
    rows, own = compared.scores[compared.answered], compared.own[compared.answered]
    probe, reference = np.nonzero(rows >= threshold)
    subject = own[probe]
    wrong = subject != reference
    subject, reference = subject[wrong], reference[wrong]

    def rate(weights: NDArray[np.int64]) -> float:
        false = float(np.sum(weights[subject] * weights[reference]))
        drawn = weights[own]
        pairs = float(np.sum(drawn * (weights.sum() - drawn)))
        return false / pairs

    interval = subject_bootstrap(rate, rows.shape[1], level=2 * UPPER_LEVEL - 1)
    return float(f"{max(interval.high, least):.3g}")
