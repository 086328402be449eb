"""Measures identification 1:N: ranks, and searches with and without a mate among all references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faces.calibration import PairPoints
from faces.rates.intervals import Interval
from faces.rates.rank1 import cmc
from faces.rates.scores import Comparison, Side
from faces.types import Condition, Pair
from service.evaluation.figures import Identification, SearchFigures, Source
from service.evaluation.rates import rate_over_subjects

if TYPE_CHECKING:
    from service.evaluation.measure import Bench, Setting

MAX_RANK = 20
Points = Mapping[tuple[str | None, Pair], PairPoints]


def identification_of(
    bench: Bench, camera: str | None, probe: Condition, setting: Setting, suggested: Points
) -> Identification:
    """Searches the references for the probes of one condition, at the thresholds suggested and in force."""
    comparison, conditions = bench.search(camera, probe)
    enrolled = np.unique(comparison.gallery.subjects)
    known = np.isin(comparison.probes.subjects, enrolled)
    lost = comparison.probes.failed[np.isin(comparison.probes.failed, enrolled)]
    at = []
    tables: dict[Source, Mapping[Pair, PairPoints]] = {
        "suggested": {pair: p for (name, pair), p in suggested.items() if name == camera},
        "in_force": setting.in_force(camera),
    }
    for source, table in tables.items():
        for fmr in _common_fmrs(table, probe, conditions):
            limits = np.array([_threshold(table[Pair(c, probe)], fmr) for c in conditions])
            at.append(_at(comparison, limits, source, fmr, setting.gallery_templates))
    closed = _closed(comparison, known, lost)
    return Identification(
        camera=camera,
        condition=probe,
        searches=comparison.probes.samples,
        failed=len(comparison.probes.failed),
        subjects=len(np.unique(comparison.probes.subjects)),
        references=len(comparison.gallery.subjects),
        enrolled=len(enrolled),
        rank1=None if closed is None else _rank1(closed),
        cmc=() if closed is None else tuple(round(float(x), 6) for x in cmc(closed, max_rank=MAX_RANK)),
        at=tuple(at),
    )


def _common_fmrs(
    table: Mapping[Pair, PairPoints], probe: Condition, conditions: tuple[Condition, ...]
) -> list[float]:
    """The FMRs that every pair of these conditions has, loosest first."""
    points = [table.get(Pair(condition, probe)) for condition in set(conditions)]
    if any(one is None for one in points):
        return []
    shared = set.intersection(*({p.fmr for p in one.points} for one in points if one is not None))
    return sorted(shared, reverse=True)


def _threshold(points: PairPoints, fmr: float) -> float:
    return next(point.threshold for point in points.points if point.fmr == fmr)


def _closed(comparison: Comparison, known: NDArray[np.bool_], lost: NDArray[np.int64]) -> Comparison | None:
    """The searches whose subject is among the references; None without any."""
    probes = comparison.probes
    if not known.any():
        return None
    sources = tuple(source for source, keep in zip(probes.sources, known, strict=True) if keep)
    side = Side(probes.templates[known], probes.subjects[known], sources, lost)
    given = None if comparison.given is None else comparison.given[known]
    return Comparison(side, comparison.gallery, given)


def _rank1(closed: Comparison) -> Interval | None:
    scores, same = closed.scores, closed.mated
    own = np.where(same, scores, -np.inf).max(axis=1)
    other = np.where(same, -np.inf, scores).max(axis=1)
    first = np.concatenate([own > other, np.zeros(len(closed.probes.failed), bool)])
    return rate_over_subjects(np.concatenate([closed.probes.subjects, closed.probes.failed]), first)


def _at(
    comparison: Comparison, limits: NDArray[np.float64], source: Source, fmr: float, gallery: int | None
) -> SearchFigures:
    """Rates at a threshold for each reference [n]. The accepted reference that passes by most wins."""
    probes = comparison.probes
    margin = comparison.scores.astype(np.float64) - limits[None, :]
    own = np.where(comparison.mated, margin, -np.inf).max(axis=1)
    other = np.where(comparison.mated, -np.inf, margin).max(axis=1)
    fpir = rate_over_subjects(probes.subjects, other >= 0)
    mated = np.isfinite(own)
    enrolled = np.isin(probes.failed, comparison.gallery.subjects)
    missed = np.concatenate([(own < 0)[mated] | (other >= own)[mated], np.ones(int(enrolled.sum()), bool)])
    fnir = rate_over_subjects(np.concatenate([probes.subjects[mated], probes.failed[enrolled]]), missed)
    assert fpir is not None  # noqa: S101 - the bench asks of conditions that have probes alone
    # A search without a mate meets all references but those of its own subject.
    met = len(limits) - float(comparison.mated.sum(axis=1).mean())
    return SearchFigures(
        source=source,
        fmr=fmr,
        fpir=fpir,
        fpir_at_gallery=None if gallery is None else _scaled(fpir, gallery / max(met, 1)),
        fnir=fnir,
    )


def _scaled(fpir: Interval, factor: float) -> Interval:
    """The FPIR of a gallery that is larger by a factor, if comparisons are independent."""
    return Interval(*(float(1 - (1 - x) ** factor) for x in (fpir.value, fpir.low, fpir.high)))
