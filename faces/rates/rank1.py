"""Counts successes for each subject: rank-1 with its interval, and the paired difference of two systems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from faces.rates.intervals import Interval
from faces.rates.resampling import BOOTSTRAPS, Floats, percentiles, weights
from faces.rates.scores import Comparison, Ids, count_of

# The rank of a probe that cannot be found, because it or its references failed.
NEVER = int(np.iinfo(np.int64).max)
ROWS_AT_ONCE = 512

Seeds = Literal["fixed", "paired", "independent"]


@dataclass(frozen=True, slots=True, eq=False)
class SubjectCounts:
    """How many of each subject's probes succeed; all int64 [subjects], subjects ascending.

    `probes` includes the failed ones. Raises ValueError if the counts are impossible.
    """

    subjects: Ids
    successes: Ids
    probes: Ids

    def __post_init__(self) -> None:
        if not self.subjects.shape == self.successes.shape == self.probes.shape or self.subjects.ndim != 1:
            raise ValueError("subjects, successes and probes are three columns of one length")
        if not len(self.subjects) or (np.diff(self.subjects) <= 0).any():
            raise ValueError("each subject occurs once, in ascending order, and there is at least one")
        if (self.successes < 0).any() or (self.successes > self.probes).any() or (self.probes < 1).any():
            raise ValueError("every subject has a probe, and no more successes than probes")

    @property
    def rate(self) -> float:
        return float(self.successes.sum() / self.probes.sum())


def ranks(comparison: Comparison) -> Ids:
    """Returns the rank of each probe's identity in the gallery: int64 [probes], 1 is first.

    The score of an identity is that of its best reference. Identities of equal score rank before the
    probe's own, so a tie is a miss. The rank is NEVER if all the subject's references failed. Raises
    ValueError for a subject that the gallery never tried to enrol: a closed-set rank means nothing for it.
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
    """Returns the cumulative match characteristic: the share of all probes found at rank 1 to `max_rank`."""
    places = ranks(comparison)
    found = np.bincount(places[places <= max_rank], minlength=max_rank + 1)[1:]
    share: Floats = np.cumsum(found) / comparison.probes.samples
    return share


def counts_at_rank(comparison: Comparison, *, rank: int = 1) -> SubjectCounts:
    """Counts the probes of each subject whose identity is among the `rank` best."""
    return _tally(comparison, ranks(comparison) <= rank)


def _tally(comparison: Comparison, success: NDArray[np.bool_]) -> SubjectCounts:
    probes = comparison.probes
    everybody = probes.everybody()
    trials = count_of(probes.subjects, everybody) + count_of(probes.failed, everybody)
    return SubjectCounts(everybody, count_of(probes.subjects[success], everybody), trials)


def sum_runs(runs: Sequence[SubjectCounts]) -> SubjectCounts:
    """Adds up runs of several training seeds on the same probes. Raises ValueError if the probes differ."""
    first = runs[0]
    for other in runs[1:]:
        _same_probes(first, other)
    return SubjectCounts(
        first.subjects,
        np.sum([run.successes for run in runs], axis=0),
        np.sum([r.probes for r in runs], axis=0),
    )


def _same_probes(a: SubjectCounts, b: SubjectCounts) -> None:
    if not (np.array_equal(a.subjects, b.subjects) and np.array_equal(a.probes, b.probes)):
        raise ValueError("these results are of different probes, so they cannot be paired")


def success_rate(counts: SubjectCounts, *, bootstraps: int = BOOTSTRAPS, seed: int = 0) -> Interval:
    """Returns the share of probes that succeed, with its subject-bootstrap interval.

    The bootstrap resamples the subjects of the probes; the gallery stays as it is.
    """
    drawn = weights(len(counts.subjects), bootstraps=bootstraps, seed=seed).astype(np.float64)
    return percentiles(counts.rate, (drawn @ counts.successes) / (drawn @ counts.probes))


def paired_difference(
    a: SubjectCounts | Sequence[SubjectCounts],
    b: SubjectCounts | Sequence[SubjectCounts],
    *,
    bootstraps: int = BOOTSTRAPS,
    seed: int = 0,
    seeds: Seeds = "fixed",
) -> Interval:
    """Returns the rate of `a` minus that of `b` on the same probes, in percentage points, with its interval.

    The bootstrap draws the same subjects for both. Several runs of a system are its training seeds.
    `seeds`: "fixed" sums over the given runs; "paired" also draws runs with replacement, the same for
    `a` and `b` (run i of both has the same seed); "independent" draws them separately. Raises
    ValueError if the probes differ, or if paired runs differ in number.
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
    value = sum_runs(left).rate - sum_runs(right).rate
    return percentiles(100.0 * value, 100.0 * replicates)


def _runs(runs: SubjectCounts | Sequence[SubjectCounts]) -> list[SubjectCounts]:
    found = [runs] if isinstance(runs, SubjectCounts) else list(runs)
    if not found:
        raise ValueError("a difference needs at least one run of each system")
    return found


def _rates(drawn: Floats, trials: Floats, runs: Sequence[SubjectCounts]) -> Floats:
    """Returns the rate of each run in each replicate: float64 [bootstraps, runs]."""
    rates: Floats = (drawn @ np.stack([run.successes for run in runs], axis=1)) / trials[:, None]
    return rates


def _shares(rng: np.random.Generator, bootstraps: int, runs: int) -> Floats:
    """Draws the weight of each run in each replicate: float64 [bootstraps, runs], rows sum to 1."""
    return rng.multinomial(runs, np.full(runs, 1.0 / runs), size=bootstraps) / runs
