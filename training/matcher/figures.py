"""Computes rank-1 and the TAR at an FMR from scores of probes against references."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.rates.intervals import Interval
from faces.rates.metrics import threshold_at_fmr
from faces.rates.rank1 import SubjectCounts, success_rate
from faces.rates.scores import count_of

Floats = NDArray[np.float32]
Names = NDArray[np.str_]

FMR = 1e-3


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one condition, in percent, with intervals over subjects. `probes`: with failures; `threshold`: where
    the stated share of all non-mated comparisons is accepted."""

    probes: int
    subjects: int
    rank1: Interval
    tar: Interval
    threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Of each probe of an enrolled person, failures last [n]: whose it is, whether nobody else scores as
    high, and whether the threshold accepts it."""

    subject: Names
    hit: NDArray[np.bool_]
    accepted: NDArray[np.bool_]
    threshold: float

    def figures(self) -> Figures:
        return Figures(
            len(self.subject),
            len(np.unique(self.subject)),
            _share(self.hit, self.subject),
            _share(self.accepted, self.subject),
            self.threshold,
        )


def figures(
    scores: Floats, probe: Names, gallery: Names, *, failed: Names | None = None, fmr: float = FMR
) -> Figures:
    """The shares of `outcomes`."""
    return outcomes(scores, probe, gallery, failed=failed, fmr=fmr).figures()


def outcomes(
    scores: Floats, probe: Names, gallery: Names, *, failed: Names | None = None, fmr: float = FMR
) -> Outcomes:
    """`scores` [probes, references]; `probe`, `gallery`: whose they are; `failed`: subjects of probes that
    gave no template. A person's best reference counts; a tie is a miss."""
    everybody, place = np.unique(gallery, return_inverse=True)
    best = np.full((len(probe), len(everybody)), -np.inf, np.float32)
    for column, person in enumerate(place):
        np.maximum(best[:, person], scores[:, column], out=best[:, person])
    mated = everybody[None, :] == probe[:, None]
    own = np.where(mated, best, -np.inf).max(axis=1)
    other = np.where(mated, -np.inf, best).max(axis=1)
    enrolled = mated.any(axis=1)
    threshold = threshold_at_fmr(best[~mated].astype(np.float64), fmr)
    failed = np.array([], np.str_) if failed is None else failed
    subject = np.concatenate([probe[enrolled], failed[np.isin(failed, everybody)]])
    missed = np.zeros(len(subject) - int(enrolled.sum()), bool)
    hit = np.concatenate([(own > other)[enrolled], missed])
    # In float32 a threshold just above the highest non-mated score would be that score.
    accepted = np.concatenate([(own.astype(np.float64) >= threshold)[enrolled], missed])
    return Outcomes(subject, hit, accepted, float(threshold))


def _share(hit: NDArray[np.bool_], subject: Names) -> Interval:
    """Percent of hits; subjects are drawn again for the interval."""
    people, place = np.unique(subject, return_inverse=True)
    everybody = np.arange(len(people))
    counts = SubjectCounts(everybody, count_of(place[hit], everybody), count_of(place, everybody))
    return success_rate(counts).in_percent()
