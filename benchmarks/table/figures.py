"""Computes rank-1, TAR at an FMR and FMR at a threshold from answers, with subject-bootstrap intervals.

A probe that failed, or whose subject could not be enrolled, is a miss; it is no false match.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.table.answers import Answer, Answers
from benchmarks.table.probes import Probe
from faces.rates.intervals import Interval
from faces.rates.rank1 import SubjectCounts
from faces.rates.resampling import BOOTSTRAPS, Floats, Weights, percentiles, weights
from faces.rates.scores import count_of

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One condition's probes against references of these subjects.

    `own` int64 [m]: the subject of each probe; `answered` bool [m]; `enrolled` bool [n].
    `scores` float64 [m, n]: -inf if the service did not list the subject, which then scored no more than
    `floor` float64 [m]. `thresholds` float64 [m]: the threshold that the service applied to each probe.
    """

    own: Ids
    answered: NDArray[np.bool_]
    enrolled: NDArray[np.bool_]
    scores: Floats
    floor: Floats
    thresholds: Floats

    @property
    def subjects(self) -> int:
        return len(self.enrolled)

    def mated(self) -> Floats:
        """The score of each probe with its own reference, -inf if there is none: float64 [m]."""
        found: Floats = self.scores[np.arange(len(self.own)), self.own]
        return found


def scored(probes: Sequence[Probe], answers: Answers, subjects: Sequence[str]) -> Scored:
    """Collects the scores against the references of `subjects`.

    Raises KeyError if a probe is of another subject.
    """
    column = {name: i for i, name in enumerate(subjects)}
    own = np.array([column[probe.subject] for probe in probes], np.int64)
    scores = np.full((len(probes), len(subjects)), -np.inf)
    answered = np.zeros(len(probes), bool)
    floor, thresholds = np.full(len(probes), -1.0), np.full(len(probes), np.inf)
    for i, probe in enumerate(probes):
        answer = answers.by_key.get(probe.key, Answer(key=probe.key, found=False))
        answered[i] = answer.found
        if answer.found:
            floor[i], thresholds[i] = answer.floor, answer.threshold
            for name, score in answer.scores.items():
                if name in column:
                    scores[i, column[name]] = score
    enrolled = np.array([name not in answers.not_enrolled for name in subjects])
    return Scored(own, answered, enrolled, scores, floor, thresholds)


def rank1(probes: Sequence[Probe], answers: Answers, subjects: Sequence[str]) -> SubjectCounts:
    """Counts the probes whose subject alone scores best among all that are enrolled, `subjects` or not."""
    column = {name: i for i, name in enumerate(subjects)}
    hit, trials = np.zeros(len(subjects), np.int64), np.zeros(len(subjects), np.int64)
    for probe in probes:
        trials[column[probe.subject]] += 1
        scores = answers.by_key.get(probe.key, Answer(key=probe.key, found=False)).scores
        best = max(scores.values(), default=0.0)
        level = [name for name, score in scores.items() if score == best]
        hit[column[probe.subject]] += level == [probe.subject]
    tried = np.flatnonzero(trials)
    return SubjectCounts(tried.astype(np.int64), hit[tried], trials[tried])


@dataclass(frozen=True, slots=True, eq=False)
class BootstrapFigure:
    """A figure and its replicates float64 [bootstraps]. `exact`: the listed scores determine all of them."""

    value: float
    replicates: Floats
    exact: bool

    @property
    def interval(self) -> Interval:
        return percentiles(self.value, self.replicates)


def bootstrap_weights(subjects: int, *, bootstraps: int = BOOTSTRAPS) -> Weights:
    """Draws the subjects' weights: the same for every bundle, so that differences are paired."""
    return weights(subjects, bootstraps=bootstraps)


def difference(a: BootstrapFigure, b: BootstrapFigure) -> Interval:
    """Returns `a` minus `b` in percentage points, over the same draws."""
    return percentiles(100 * (a.value - b.value), 100 * (a.replicates - b.replicates))


def tar_at(data: Scored, fmr: float, draws: Weights) -> BootstrapFigure:
    """Returns 1 - FNMR at the smallest threshold with FMR <= `fmr`, which is set anew in every draw.

    A mated comparison counts as often as its subject was drawn, a non-mated one as often as the product
    of its two subjects' counts, as in `training.evaluation.verification`.
    """
    row, column = np.nonzero(np.isfinite(data.scores))
    other = data.own[row] != column
    row, column = row[other], column[other]
    order = np.argsort(-data.scores[row, column], kind="stable")
    tail, probe, reference = data.scores[row, column][order], data.own[row][order], column[order]
    mates, trials = data.mated(), count_of(data.own, np.arange(data.subjects))
    best = np.argsort(-mates, kind="stable")

    def replicate(counts: Ids) -> tuple[float, float]:
        allowed = fmr * _pairs(data, counts) + 1e-9
        accepted = np.cumsum(counts[probe] * counts[reference])
        first = int(np.searchsorted(accepted, allowed, side="right"))
        if first >= len(tail):
            return float("nan"), -np.inf
        kept = counts[data.own[best]][mates[best] > tail[first]].sum()
        total = counts @ trials
        return (float(kept / total) if total else float("nan")), float(tail[first])

    value, threshold = replicate(np.ones(data.subjects, np.int64))
    made = np.array([replicate(counts) for counts in draws])
    least = min(threshold, float(made[:, 1].min()))
    return BootstrapFigure(value, made[:, 0], bool(least >= data.floor.max()))


def fmr_at(data: Scored, threshold: float | None, draws: Weights) -> BootstrapFigure:
    """Returns the share of non-mated comparisons at `threshold` or above.

    `threshold`: None for the one that the service applied to each probe.
    """
    limit = data.thresholds if threshold is None else np.full(len(data.own), threshold)
    row, column = np.nonzero(data.scores >= limit[:, None])
    other = data.own[row] != column
    probe, reference = data.own[row][other], column[other]

    def rate(counts: Ids) -> float:
        pairs = _pairs(data, counts)
        return float((counts[probe] * counts[reference]).sum() / pairs) if pairs else float("nan")

    made = np.array([rate(counts) for counts in draws])
    exact = bool((data.floor < limit)[data.answered].all())
    return BootstrapFigure(rate(np.ones(data.subjects, np.int64)), made, exact)


def tar_with(data: Scored, threshold: float | None, draws: Weights) -> BootstrapFigure:
    """Returns the share of mated comparisons at `threshold` or above; None: as in `fmr_at`."""
    limit = data.thresholds if threshold is None else np.full(len(data.own), threshold)
    every = np.arange(data.subjects)
    kept, trials = count_of(data.own[data.mated() >= limit], every), count_of(data.own, every)
    totals = draws @ trials
    rates = np.where(totals > 0, (draws @ kept) / np.maximum(totals, 1), np.nan)
    # A mate below the hundred best is not listed: it was rejected unless the floor reaches the threshold.
    exact = bool((data.floor < limit)[data.answered].all())
    return BootstrapFigure(float(kept.sum() / trials.sum()), rates, exact)


def _pairs(data: Scored, counts: Ids) -> int:
    """Counts the non-mated comparisons that were made, if subject i counts `counts[i]` times."""
    references = counts * data.enrolled
    probes = counts * count_of(data.own[data.answered], np.arange(data.subjects))
    return int(probes.sum() * references.sum() - probes @ references)


@dataclass(frozen=True, slots=True)
class Seen:
    """The conditions that the service took the probes of one condition for.

    `failed`: the share of all probes without a face; `masked`, `nir`: shares of those with a face.
    """

    failed: float
    masked: float
    nir: float


def seen_as(probes: Sequence[Probe], answers: Mapping[str, Answer]) -> Seen:
    found = [one for p in probes if (one := answers.get(p.key)) is not None and one.found]
    if not found:
        return Seen(1.0, 0.0, 0.0)
    masked, nir = (float(np.mean(states)) for states in ([f.masked for f in found], [f.nir for f in found]))
    return Seen(1 - len(found) / len(probes), masked, nir)
