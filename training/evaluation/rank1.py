"""Successes counted per subject: rank-1 with its interval, and paired differences of two systems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.evaluation.intervals import Interval
from training.evaluation.resampling import BOOTSTRAPS, Floats, percentiles, weights
from training.evaluation.scores import Comparison, Ids, count_of

# The rank of a probe that cannot be found: it failed, or its references did.
NEVER = int(np.iinfo(np.int64).max)
ROWS_AT_ONCE = 512

Seeds = Literal["fixed", "paired", "independent"]


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """Successes among the trials of each subject, all int64 [subjects], subjects ascending.

    Failed probes are trials. Raises ValueError where the counts are impossible.
    """

    subjects: Ids
    hits: Ids
    probes: Ids

    def __post_init__(self) -> None:
        if not self.subjects.shape == self.hits.shape == self.probes.shape or self.subjects.ndim != 1:
            raise ValueError("subjects, hits and probes are three columns of one length")
        if not len(self.subjects) or (np.diff(self.subjects) <= 0).any():
            raise ValueError("each subject stands once, in ascending order, and there is at least one")
        if (self.hits < 0).any() or (self.hits > self.probes).any() or (self.probes < 1).any():
            raise ValueError("every subject has a probe, and no more hits than probes")

    @property
    def rate(self) -> float:
        return float(self.hits.sum() / self.probes.sum())


def ranks(comparison: Comparison) -> Ids:
    """The place of each probe's identity among the gallery's: int64 [probes], 1 is first.

    An identity scores as its best reference; level identities stand before the probe's own, so a
    tie is a miss. NEVER where all the subject's references failed. Raises ValueError for a subject
    that the gallery never tried to enrol: a closed-set rank means nothing for it.
    """
    _closed(comparison)
    probes, gallery = comparison.probes, comparison.gallery
    identities, column = np.unique(gallery.subjects, return_inverse=True)
    order = np.argsort(column, kind="stable")
    starts = np.searchsorted(column[order], np.arange(len(identities)))
    own_column = np.minimum(np.searchsorted(identities, probes.subjects), len(identities) - 1)
    enrolled = identities[own_column] == probes.subjects
    places = np.full(len(probes.subjects), NEVER, np.int64)
    for first in range(0, len(places), ROWS_AT_ONCE):
        rows = np.arange(first, min(first + ROWS_AT_ONCE, len(places)))
        best = np.maximum.reduceat(comparison.scores[rows][:, order], starts, axis=1)
        own = best[np.arange(len(rows)), own_column[rows]][:, None]
        places[rows] = np.where(enrolled[rows], np.sum(best >= own, axis=1), NEVER)
    return places


def _closed(comparison: Comparison) -> None:
    strangers = np.setdiff1d(comparison.probes.everybody(), comparison.gallery.everybody())
    if len(strangers):
        raise ValueError(
            f"a closed-set rank needs every probe's subject in the gallery; {len(strangers)} are not"
        )


def cmc(comparison: Comparison, *, max_rank: int = 20) -> Floats:
    """Cumulative match characteristic: the share of all probes found at rank 1 to `max_rank`."""
    places = ranks(comparison)
    found = np.bincount(places[places <= max_rank], minlength=max_rank + 1)[1:]
    share: Floats = np.cumsum(found) / comparison.probes.samples
    return share


def per_subject_hits(comparison: Comparison, *, rank: int = 1) -> Hits:
    """How many of each subject's probes have their identity among the `rank` best."""
    return _tally(comparison, ranks(comparison) <= rank)


def _tally(comparison: Comparison, success: NDArray[np.bool_]) -> Hits:
    probes = comparison.probes
    everybody = probes.everybody()
    trials = count_of(probes.subjects, everybody) + count_of(probes.failed, everybody)
    return Hits(everybody, count_of(probes.subjects[success], everybody), trials)


def summed(runs: Sequence[Hits]) -> Hits:
    """The same probes under several training seeds, as one system. Raises ValueError otherwise."""
    first = runs[0]
    for other in runs[1:]:
        _same_probes(first, other)
    return Hits(
        first.subjects, np.sum([run.hits for run in runs], axis=0), np.sum([r.probes for r in runs], axis=0)
    )


def _same_probes(a: Hits, b: Hits) -> None:
    if not (np.array_equal(a.subjects, b.subjects) and np.array_equal(a.probes, b.probes)):
        raise ValueError("these results are of different probes, so they cannot be paired")


def hit_rate(hits: Hits, *, bootstraps: int = BOOTSTRAPS, seed: int = 0) -> Interval:
    """The share of probes that succeed, with its subject-bootstrap interval.

    The gallery stays as it is: what is resampled is whose probes come.
    """
    drawn = weights(len(hits.subjects), bootstraps=bootstraps, seed=seed).astype(np.float64)
    return percentiles(hits.rate, (drawn @ hits.hits) / (drawn @ hits.probes))


def paired_difference(
    a: Hits | Sequence[Hits],
    b: Hits | Sequence[Hits],
    *,
    bootstraps: int = BOOTSTRAPS,
    seed: int = 0,
    seeds: Seeds = "fixed",
) -> Interval:
    """Success of `a` minus success of `b` on the same probes, in points (percent), with its interval.

    Both are resampled with the same draw of subjects. Several runs of a system are its training
    seeds. `seeds`: "fixed" sums over the runs at hand; "paired" also draws runs with replacement,
    the same for `a` and `b` (run i of both shares its seed); "independent" draws them on their own.
    Raises ValueError where the probes differ, or paired runs differ in number.
    """
    left, right = _runs(a), _runs(b)
    for run in (*left, *right):
        _same_probes(left[0], run)
    if seeds == "paired" and len(left) != len(right):
        raise ValueError(f"paired seeds need as many runs on both sides, got {len(left)} and {len(right)}")
    drawn = weights(len(left[0].subjects), bootstraps=bootstraps, seed=seed).astype(np.float64)
    trials = drawn @ left[0].probes
    rates_a, rates_b = (_rates(drawn, trials, runs) for runs in (left, right))
    if seeds == "fixed":
        replicates = rates_a.mean(axis=1) - rates_b.mean(axis=1)
    else:
        rng = np.random.default_rng((seed, 1))
        share_a = _shares(rng, bootstraps, len(left))
        share_b = share_a if seeds == "paired" else _shares(rng, bootstraps, len(right))
        replicates = (rates_a * share_a).sum(axis=1) - (rates_b * share_b).sum(axis=1)
    value = summed(left).rate - summed(right).rate
    return percentiles(100.0 * value, 100.0 * replicates)


def _runs(runs: Hits | Sequence[Hits]) -> list[Hits]:
    found = [runs] if isinstance(runs, Hits) else list(runs)
    if not found:
        raise ValueError("a difference needs at least one run of each system")
    return found


def _rates(drawn: Floats, trials: Floats, runs: Sequence[Hits]) -> Floats:
    """Each run's rate in each replicate: float64 [bootstraps, runs]."""
    rates: Floats = (drawn @ np.stack([run.hits for run in runs], axis=1)) / trials[:, None]
    return rates


def _shares(rng: np.random.Generator, bootstraps: int, runs: int) -> Floats:
    """How large a part of a replicate each run is: float64 [bootstraps, runs], rows sum to 1."""
    return rng.multinomial(runs, np.full(runs, 1.0 / runs), size=bootstraps) / runs
