"""Measures VR at FAR (1 - FNMR at FMR) over all pairs, with intervals that include the threshold's error.

Each replicate draws the same subjects for probes and gallery: a mated comparison counts as often as its
subject was drawn, a non-mated one as often as the product of its two subjects' counts. The threshold is
set again on each replicate, because in use it comes from a finite set too. Only the upper tail of the
non-mated scores is used; it grows if a replicate needs more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from faces.rates.intervals import Interval
from faces.rates.resampling import BOOTSTRAPS, Floats, percentiles, weights
from faces.rates.scores import Comparison, Ids, count_of

ThresholdRule = Literal["at_most", "nearest"]
# The initial size of the tail is this many times the comparisons that the largest FMR accepts.
TAIL_FACTOR = 2.0
TAIL_SLACK = 64


@dataclass(frozen=True, slots=True)
class Verification:
    """An operating point: the threshold for an FMR, and the share of mated comparisons accepted there."""

    fmr: float
    threshold: float
    tar: Interval


@dataclass(frozen=True, slots=True, eq=False)
class _Tail:
    """The largest non-mated scores, descending, and the indices of their two subjects, all [n]."""

    scores: Floats
    probe: Ids
    reference: Ids
    whole: bool


class PairScores:
    """All comparisons of a `Comparison`, split into mated and non-mated and sorted once."""

    def __init__(self, comparison: Comparison) -> None:
        probes, gallery = comparison.probes, comparison.gallery
        self._everybody = np.union1d(probes.everybody(), gallery.everybody())
        self._probe = np.searchsorted(self._everybody, probes.subjects)
        self._reference = np.searchsorted(self._everybody, gallery.subjects)
        self._comparison = comparison
        made = count_of(probes.subjects, self._everybody), count_of(gallery.subjects, self._everybody)
        failed = count_of(probes.failed, self._everybody), count_of(gallery.failed, self._everybody)
        self._probes, self._references = made
        # A mated comparison is a miss if the sample of either side failed.
        self._mates = (made[0] + failed[0]) * (made[1] + failed[1])
        row, column = np.nonzero(comparison.mated)
        scores = comparison.scores[row, column].astype(np.float64)
        order = np.argsort(-scores, kind="stable")
        self._mated, self._mated_subject = scores[order], self._probe[row[order]]

    @property
    def subjects(self) -> int:
        return len(self._everybody)

    @property
    def mated(self) -> int:
        """The number of mated comparisons, including those that a failure prevented."""
        return int(self._mates.sum())

    @property
    def non_mated(self) -> int:
        """The number of non-mated comparisons made: a failure cannot be a false match (ISO/IEC 19795-1)."""
        return len(self._probe) * len(self._reference) - len(self._mated)

    def _cut(self, size: int) -> _Tail:
        """Returns the `size` largest non-mated scores and every score equal to the last of them."""
        comparison = self._comparison
        non_mated = ~comparison.mated
        floor = -np.inf
        if size < self.non_mated:
            everything = comparison.scores[non_mated]
            floor = float(np.partition(everything, len(everything) - size)[len(everything) - size])
        row, column = np.nonzero((comparison.scores >= floor) & non_mated)
        scores = comparison.scores[row, column].astype(np.float64)
        order = np.argsort(-scores, kind="stable")
        row, column = row[order], column[order]
        return _Tail(scores[order], self._probe[row], self._reference[column], len(scores) == self.non_mated)

    def measure(
        self,
        fmr_points: Sequence[float],
        *,
        bootstraps: int = BOOTSTRAPS,
        seed: int = 0,
        rule: ThresholdRule = "at_most",
    ) -> tuple[Verification, ...]:
        """Measures the TAR at each FMR.

        `at_most` takes the smallest threshold whose FMR is at most the given one; `nearest` takes the one
        whose FMR is nearest, as papers do that read it off a curve. Raises ValueError without mated or
        without non-mated comparisons.
        """
        if not self.mated or not self.non_mated:
            raise ValueError("a verification rate needs mated and non-mated comparisons")
        points = np.array(fmr_points, np.float64)
        if not ((points > 0) & (points < 1)).all():
            raise ValueError("an FMR lies between 0 and 1")
        self._tail = self._cut(int(TAIL_FACTOR * points.max(initial=0.0) * self.non_mated) + TAIL_SLACK)
        ones = np.ones(self.subjects, np.int64)
        drawn = weights(self.subjects, bootstraps=bootstraps, seed=seed)
        thresholds, value = self._replicate(ones, points, rule)
        replicates = np.empty((bootstraps, len(points)))
        for i, counts in enumerate(drawn):
            replicates[i] = self._replicate(counts, points, rule)[1]
        return tuple(
            Verification(float(f), float(t), percentiles(float(v), replicates[:, i]))
            for i, (f, t, v) in enumerate(zip(points, thresholds, value, strict=True))
        )

    def _replicate(self, counts: Ids, points: Floats, rule: ThresholdRule) -> tuple[Floats, Floats]:
        """Returns threshold and TAR at each FMR, both [points]; subject i counts `counts[i]` times."""
        nothing = np.full(len(points), np.nan)
        probes, references = counts * self._probes, counts * self._references
        total = int(probes.sum() * references.sum() - probes @ references)
        mates = int(counts @ self._mates)
        if not total or not mates:
            return nothing, nothing
        allowed = points * total + 1e-9
        tail = self._tail
        accepted = np.cumsum(counts[tail.probe] * counts[tail.reference])
        if not tail.whole and accepted[-1] <= allowed.max():
            self._tail = self._cut(2 * len(tail.scores))
            return self._replicate(counts, points, rule)
        # The first score that must be rejected, with all scores equal to it.
        first = np.minimum(np.searchsorted(accepted, allowed, side="right"), len(accepted) - 1)
        cut = tail.scores[first]
        thresholds = np.nextafter(cut, np.inf)
        if rule == "nearest":
            ahead = np.searchsorted(-tail.scores, -cut, side="left")
            below = np.where(ahead > 0, accepted[ahead - 1], 0)
            above = accepted[np.searchsorted(-tail.scores, -cut, side="right") - 1]
            thresholds = np.where(above - points * total < points * total - below, cut, thresholds)
        found = np.concatenate([[0], np.cumsum(counts[self._mated_subject])])
        kept = found[np.searchsorted(-self._mated, -thresholds, side="right")]
        return thresholds, kept / mates


def failed_mates(comparison: Comparison) -> int:
    """Counts the mated comparisons that were not made because a sample of either side failed."""
    probes, gallery = comparison.probes, comparison.gallery
    everybody = np.union1d(probes.everybody(), gallery.everybody())
    made = count_of(probes.subjects, everybody), count_of(gallery.subjects, everybody)
    failed = count_of(probes.failed, everybody), count_of(gallery.failed, everybody)
    return int(((made[0] + failed[0]) * (made[1] + failed[1]) - made[0] * made[1]).sum())
