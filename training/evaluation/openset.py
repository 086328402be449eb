"""Measures open-set identification: half of the subjects are enrolled, then the other half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from faces.rates.intervals import Interval
from faces.rates.metrics import ERRORS_NEEDED, open_set, threshold_at_fmr
from faces.rates.rank1 import SubjectCounts, success_rate
from faces.rates.resampling import BOOTSTRAPS
from faces.rates.scores import Comparison, Ids, count_of

FPIR_POINTS = (0.1, 0.03, 0.01)


@dataclass(frozen=True, slots=True)
class HalfOpenSet:
    """Rates with one half enrolled. `fpir` is the one at the threshold, at most the requested one."""

    threshold: float
    fpir: float
    fnir: float


@dataclass(frozen=True, slots=True)
class OpenSetPoint:
    """FNIR at an FPIR over both halves; the bootstrap keeps the thresholds and draws subjects."""

    fpir: float
    fnir: Interval
    halves: tuple[HalfOpenSet, HalfOpenSet]


@dataclass(frozen=True, slots=True)
class OpenSetFigures:
    """`refused`: FPIR points that the number of subjects does not support, and why."""

    points: tuple[OpenSetPoint, ...]
    refused: dict[float, str]


def open_set_figures(
    comparison: Comparison,
    *,
    fpir_points: Sequence[float] = FPIR_POINTS,
    bootstraps: int = BOOTSTRAPS,
    seed: int = 0,
) -> OpenSetFigures:
    """Returns FNIR(T, R = 1) at FPIR(T) (NIST IR 8271).

    Failed probes of enrolled subjects are misses; those of other subjects are no searches and count in
    neither rate. The threshold is the smallest whose FPIR is at most the requested one. A point needs 30
    expected errors among the subjects that are not enrolled. Raises ValueError for fewer than four
    subjects with probes and references.
    """
    known = np.intersect1d(comparison.probes.subjects, comparison.gallery.subjects)
    if len(known) < 4:
        raise ValueError("an open set needs at least four subjects with probes and references")
    order = np.random.default_rng(seed).permutation(comparison.gallery.everybody())
    first, second = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    strangers = min(len(np.intersect1d(known, half)) for half in (first, second))
    points, refused = [], {}
    for fpir in fpir_points:
        if strangers * fpir < ERRORS_NEEDED:
            refused[fpir] = (
                f"{strangers} subjects that are not enrolled make {strangers * fpir:.2g} of the"
                f" {ERRORS_NEEDED} errors that the rule of 30 asks for"
            )
            continue
        one, counts_one = _half(comparison, first, fpir)
        two, counts_two = _half(comparison, second, fpir)
        found = success_rate(_joined(counts_one, counts_two), bootstraps=bootstraps, seed=seed)
        fnir = Interval(1.0 - found.value, 1.0 - found.high, 1.0 - found.low)
        points.append(OpenSetPoint(fpir, fnir, (one, two)))
    return OpenSetFigures(tuple(points), refused)


def _half(comparison: Comparison, enrolled: Ids, fpir: float) -> tuple[HalfOpenSet, SubjectCounts]:
    """Returns the rates with these subjects enrolled, and the counts of their probes."""
    probes, gallery = comparison.probes, comparison.gallery
    columns = np.isin(gallery.subjects, enrolled)
    # In float32 the threshold could be rounded down to the score that it must reject.
    scores, references = comparison.scores[:, columns].astype(np.float64), gallery.subjects[columns]
    # A subject whose references all failed counts as enrolled: its probes are misses.
    stranger = ~np.isin(probes.subjects, enrolled)
    lost = int(np.isin(probes.failed, enrolled).sum())
    unfindable = ~stranger & ~np.isin(probes.subjects, references)
    threshold = threshold_at_fmr(scores[stranger].max(axis=1), fpir)
    used = ~unfindable
    rates = open_set(
        scores[used],
        probes.subjects[used],
        references,
        threshold,
        failed_mated=lost + int(unfindable.sum()),
    )
    same = probes.subjects[:, None] == references[None, :]
    own = np.where(same, scores, -np.inf).max(axis=1)
    other = np.where(same, -np.inf, scores).max(axis=1)
    hit = ~stranger & (own >= threshold) & (own > other)
    mine = np.intersect1d(probes.everybody(), enrolled)
    tried = probes.subjects[~stranger]
    gone = probes.failed[np.isin(probes.failed, enrolled)]
    counts = SubjectCounts(
        mine, count_of(probes.subjects[hit], mine), count_of(tried, mine) + count_of(gone, mine)
    )
    return HalfOpenSet(threshold, rates.fpir, rates.fnir), counts


def _joined(a: SubjectCounts, b: SubjectCounts) -> SubjectCounts:
    """Puts the counts of two disjoint groups of subjects together."""
    subjects = np.concatenate([a.subjects, b.subjects])
    order = np.argsort(subjects)
    return SubjectCounts(
        subjects[order],
        np.concatenate([a.successes, b.successes])[order],
        np.concatenate([a.probes, b.probes])[order],
    )
