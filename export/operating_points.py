"""Scores with subjects -> operating points with confidence bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces import metrics
from faces.calibration import ConditionPoints, OperatingPoint
from faces.types import Condition

Floats = NDArray[np.float32]
FMR_POINTS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
UPPER_LEVEL = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Probes against references, one subject a row and a column: scores [n, n], row i probe i.

    `answered` [n]: whether probe i gave a template. `mated` [n]: whether probe and reference i are
    different photos, so that the diagonal is a mated comparison. Rows of failed probes are ignored.
    """

    scores: Floats
    answered: NDArray[np.bool_]
    mated: NDArray[np.bool_]


class Unsupported(ValueError):
    """The data cannot support a single operating point."""


def operating_points(
    condition: Condition, compared: Compared, *, targets: Sequence[float] = FMR_POINTS
) -> ConditionPoints:
    """Thresholds at every target FMR that the number of subjects supports (rule of 30).

    Raises Unsupported where that is none.
    """
    subjects = int(np.count_nonzero(compared.answered))
    possible = [target for target in targets if metrics.supports_fmr(subjects, target)]
    if not possible:
        raise Unsupported(f"{subjects} subjects support no FMR of {', '.join(map(str, targets))}")
    rows = compared.scores[compared.answered]
    own = np.flatnonzero(compared.answered)
    off = np.ones(rows.shape, bool)
    off[np.arange(len(rows)), own] = False
    non_mated = rows[off]
    both = compared.answered & compared.mated
    mated = compared.scores[both, both.nonzero()[0]]
    failed = int(np.count_nonzero(compared.mated & ~compared.answered))
    points = []
    for target in possible:
        # Rounded up: a shorter number must not let one more comparison in.
        threshold = math.ceil(metrics.threshold_at_fmr(non_mated, target) * 1e6) / 1e6
        points.append(
            OperatingPoint(
                fmr=target,
                threshold=threshold,
                fmr_upper=_fmr_upper(rows, own, threshold),
                fnmr=round(metrics.fnmr(mated, threshold, failed=failed), 6),
            )
        )
    return ConditionPoints(
        spectrum=condition.spectrum,
        masked=condition.masked,
        subjects=subjects,
        mated=len(mated) + failed,
        non_mated=len(non_mated),
        points=tuple(points),
    )


def _fmr_upper(rows: Floats, own: NDArray[np.intp], threshold: float) -> float:
    """The one-sided 95 % upper bound of the FMR, by subject bootstrap over probes and references.

    A subject drawn twice counts twice on both sides. Only accepted pairs are looked at, so a
    thousand repeats over millions of comparisons cost little.
    """
    probe, reference = np.nonzero(rows >= threshold)
    subject = own[probe]
    wrong = subject != reference
    subject, reference = subject[wrong], reference[wrong]

    def rate(weights: NDArray[np.int64]) -> float:
        false = float(np.sum(weights[subject] * weights[reference]))
        drawn = weights[own]
        pairs = float(drawn.sum()) * float(weights.sum()) - float(np.sum(drawn**2))
        return false / pairs

    interval = metrics.subject_bootstrap(rate, rows.shape[1], level=2 * UPPER_LEVEL - 1)
    return float(f"{interval.high:.3g}")
