"""Rates over subjects with their intervals, curves and histograms of one comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from faces.calibration import OperatingPoint
from faces.rates import metrics
from faces.rates.bounds import fmr_upper
from faces.rates.intervals import Interval, clopper_pearson
from faces.rates.rank1 import SubjectCounts, success_rate
from faces.rates.scores import Comparison, Ids
from faces.rates.tail import Tail
from service.evaluation.figures import DetPoint, Histogram, PointFigures

BINS, CURVE_POINTS = 60, 200


def rate_over_subjects(subjects: Ids, errors: NDArray[np.bool_]) -> Interval | None:
    """The share of errors among trials [n] of these subjects [n], with its 95 % interval; None without any.

    Subjects are drawn, not trials (`faces.rates.resampling`). A bootstrap of a rate of 0 or 1 would be a
    point: then the interval is the exact one of as many trials as there are subjects.
    """
    if not len(subjects):
        return None
    everybody, index = np.unique(subjects, return_inverse=True)
    wrong = np.bincount(index, weights=errors).astype(np.int64)
    trials = np.bincount(index).astype(np.int64)
    if 0 < wrong.sum() < trials.sum():
        return success_rate(SubjectCounts(everybody, wrong, trials))
    all_wrong = bool(wrong.sum())
    return clopper_pearson(len(everybody) if all_wrong else 0, len(everybody))


def point_figures(
    comparison: Comparison, tail: Tail, lost_subjects: Ids, point: OperatingPoint
) -> PointFigures:
    """What a point's threshold does. `lost_subjects`: the subject of each mated comparison that failed."""
    row, column = np.nonzero(comparison.mated)
    scores = comparison.scores[row, column].astype(np.float64)
    missed = np.concatenate([scores < point.threshold, np.ones(len(lost_subjects), bool)])
    subjects = np.concatenate([comparison.probes.subjects[row], lost_subjects])
    return PointFigures(
        fmr=point.fmr,
        threshold=point.threshold,
        false_matches=tail.accepted(point.threshold),
        fmr_upper=float(f"{fmr_upper(tail, point.threshold):.3g}"),
        fnmr=rate_over_subjects(subjects, missed),
        method=point.method,
    )


def det_points(comparison: Comparison, failed: int) -> tuple[DetPoint, ...]:
    """The DET curve, thinned; a failed mated comparison is rejected at every threshold."""
    mated = comparison.scores[comparison.mated]
    non_mated = comparison.scores[~comparison.mated]
    if not len(mated) or not len(non_mated):
        return ()
    curve = metrics.det_curve(mated, non_mated)
    share = (curve.fnmr * len(mated) + failed) / (len(mated) + failed)
    # As many points for each decade of the FMR: the left end of the plot is what matters.
    seen = np.maximum(curve.fmr, 1 / (2 * len(non_mated)))
    places = np.searchsorted(-seen, -np.logspace(0, np.log10(seen.min()), CURVE_POINTS))
    chosen = np.unique(np.minimum(places, len(seen) - 1))
    return tuple(DetPoint(round(float(curve.fmr[i]), 9), round(float(share[i]), 6)) for i in chosen)


def histogram(comparison: Comparison) -> Histogram:
    mated = comparison.scores[comparison.mated]
    non_mated = comparison.scores[~comparison.mated]
    low, high = float(comparison.scores.min()), float(comparison.scores.max())
    edges = np.linspace(low, high if high > low else low + 1e-6, BINS + 1)
    return Histogram(_rounded(edges), _counts(mated, edges), _counts(non_mated, edges))


def _rounded(values: NDArray[np.floating]) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)


def _counts(scores: NDArray[np.floating], edges: NDArray[np.floating]) -> tuple[int, ...]:
    counted: Sequence[int] = np.histogram(scores, edges)[0].tolist()
    return tuple(counted)
