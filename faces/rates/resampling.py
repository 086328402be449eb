"""Draws subjects for the bootstrap: the weights of every interval of `faces.rates`.

Comparisons share subjects, so they are not independent trials; subjects are. A bootstrap draws as
many subjects as there are, with replacement, and counts each subject as often as it was drawn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faces.rates.intervals import Interval

BOOTSTRAPS = 1000
LEVEL = 0.95

Weights = NDArray[np.int64]
Floats = NDArray[np.float64]


def weights(subjects: int, *, bootstraps: int = BOOTSTRAPS, seed: int = 0) -> Weights:
    """Returns how often each subject is drawn: int64 [bootstraps, subjects], rows sum to `subjects`."""
    if subjects < 1 or bootstraps < 1:
        raise ValueError("a bootstrap needs at least one subject and one repeat")
    drawn = np.random.default_rng(seed).integers(subjects, size=(bootstraps, subjects))
    drawn += np.arange(bootstraps)[:, None] * subjects
    return np.bincount(drawn.ravel(), minlength=bootstraps * subjects).reshape(bootstraps, subjects)


def percentiles(value: float, replicates: Floats, *, level: float = LEVEL) -> Interval:
    """Returns the percentile interval of a statistic from its replicates [bootstraps].

    A NaN, a replicate in which no drawn subject has a trial, is left out.
    """
    known = replicates[~np.isnan(replicates)]
    if not len(known):
        return Interval(value, value, value)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))
