"""Bounds an FMR from above with people as clusters, and extrapolates the tail of impostor scores.

Comparisons that share a person are alike: somebody who resembles many gives many false matches at once. So
the false matches are counted as fewer independent ones, by the design effect of Kish: the variance of their
number with people as clusters (Fafchamps and Gubert 2007, for pairs) over that of independent comparisons.
The bound is Poisson's for that many (the method of Korn and Graubard 1998 for surveys, at small rates).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.rates.intervals import poisson_upper
from faces.rates.tail import Floats, Ids, Tail

Floats64 = NDArray[np.float64]

LEVEL = 0.95
# A design effect of fewer false matches would be noise: it is then taken of the highest scores instead.
FEWEST = 200
# The share of the highest scores, and their number, that the extrapolation is fitted to.
TAIL_SHARE, LEAST_SCORES, MOST_SCORES = 1e-3, 100, 2000


def design_effect(tail: Tail, accepted: int) -> float:
    """By which factor sharing people raises the variance of the number of `accepted` highest scores.

    At least 1. Takes the `FEWEST` highest scores if fewer are accepted.
    """
    count = min(max(accepted, FEWEST), len(tail.scores))
    first, second = tail.probe[:count], tail.reference[:count]
    person = np.bincount(first, minlength=tail.people) + np.bincount(second, minlength=tail.people)
    by_person = float(np.sum((person - count * _share_of_person(tail)) ** 2))
    low, high = np.minimum(first, second), np.maximum(first, second)
    pairs, seen = np.unique(low * np.int64(tail.people) + high, return_counts=True)
    low, high = np.divmod(pairs, tail.people)
    each = count * _share_of_pair(tail, low, high)
    # A pair of people is in the sums of both; once is enough. Unseen pairs have a residual of -each.
    unseen = count**2 * _squared_shares(tail) - float(np.sum(each**2))
    by_pair = float(np.sum((seen - each) ** 2)) + unseen
    return max(1.0, (by_person - by_pair) / count)


def _exposure(tail: Tail) -> tuple[Floats64, Floats64]:
    """Probes and references of each person, float64 [people]."""
    everybody = np.ones(tail.people)
    probes = everybody if tail.probes is None else tail.probes.astype(np.float64)
    references = everybody if tail.references is None else tail.references.astype(np.float64)
    return probes, references


def _all_pairs(probes: Floats64, references: Floats64) -> float:
    return float(probes.sum() * references.sum() - probes @ references)


def _share_of_person(tail: Tail) -> Floats64:
    """The share of all comparisons that each person takes part in, [people]."""
    probes, references = _exposure(tail)
    mine = probes * (references.sum() - references) + references * (probes.sum() - probes)
    share: Floats64 = mine / _all_pairs(probes, references)
    return share


def _share_of_pair(tail: Tail, low: Ids, high: Ids) -> Floats64:
    """The share of all comparisons that pairs of people make, whichever of them is the probe."""
    probes, references = _exposure(tail)
    mine = probes[low] * references[high] + probes[high] * references[low]
    share: Floats64 = mine / _all_pairs(probes, references)
    return share


def _squared_shares(tail: Tail) -> float:
    """The sum of the squared shares of every pair of people."""
    probes, references = _exposure(tail)
    whole = 2 * (probes @ probes) * (references @ references) + 2 * (probes @ references) ** 2
    itself = 4 * float(np.sum((probes * references) ** 2))
    return float(whole - itself) / 2 / _all_pairs(probes, references) ** 2


def fmr_upper(tail: Tail, threshold: float, *, level: float = LEVEL) -> float:
    """The one-sided upper bound of the FMR at a threshold.

    It is above 0 where no false match was seen: that does not show that there is none.
    """
    accepted = tail.accepted(threshold)
    effect = design_effect(tail, accepted)
    return min(1.0, poisson_upper(accepted / effect, level=level) * effect / tail.total)


@dataclass(frozen=True, slots=True)
class TailModel:
    """A generalised Pareto distribution of the scores above `start`, which a `share` of all reach."""

    start: float
    share: float
    scale: float
    shape: float

    def threshold(self, fmr: float) -> float:
        """The score that a share `fmr` of impostors is modelled to reach; `fmr` is at most `share`."""
        if fmr > self.share:
            raise ValueError("the model begins above this FMR")
        ratio = self.share / fmr
        if abs(self.shape) < 1e-6:
            return self.start + self.scale * float(np.log(ratio))
        return float(self.start + self.scale / self.shape * (ratio**self.shape - 1))


def tail_model(tail: Tail) -> TailModel:
    """Fits the highest scores by probability-weighted moments (Hosking and Wallis 1987).

    Raises ValueError if they do not differ.
    """
    count = int(np.clip(tail.total * TAIL_SHARE, LEAST_SCORES, MOST_SCORES))
    count = min(count, len(tail.scores) - 1)
    start = float(tail.scores[count])
    scale, shape = _pareto(tail.scores[:count] - np.float32(start))
    return TailModel(start, count / tail.total, scale, shape)


def _pareto(falling: Floats) -> tuple[float, float]:
    """Scale and shape of excesses over the start [n], in falling order."""
    excess = falling[::-1].astype(np.float64)
    mean = float(excess.mean())
    weights = 1 - (np.arange(1, len(excess) + 1) - 0.35) / len(excess)
    moment = float(np.mean(weights * excess))
    if mean <= 0 or mean - 2 * moment <= 0:
        raise ValueError("the highest scores do not differ: no tail can be fitted")
    return 2 * mean * moment / (mean - 2 * moment), 2 - mean / (mean - 2 * moment)
