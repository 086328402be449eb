"""Defines confidence intervals of a rate: exact for independent trials, by bootstrap over subjects."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BOOTSTRAPS = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """A rate with its confidence interval."""

    value: float
    low: float
    high: float

    def in_percent(self) -> Interval:
        return Interval(100 * self.value, 100 * self.low, 100 * self.high)


def clopper_pearson(errors: int, trials: int, *, level: float = 0.95) -> Interval:
    """Returns the exact interval of a rate from independent trials (Clopper and Pearson 1934)."""
    if not 0 <= errors <= trials or trials < 1:
        raise ValueError("errors lie between 0 and the number of trials")
    tail = (1 - level) / 2
    low = 0.0 if errors == 0 else _solve(lambda p: _beta_cdf(p, errors, trials - errors + 1), tail)
    high = 1.0 if errors == trials else _solve(lambda p: _beta_cdf(p, errors + 1, trials - errors), 1 - tail)
    return Interval(errors / trials, low, high)


def subject_bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    subjects: int,
    *,
    repeats: int = BOOTSTRAPS,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Returns the percentile interval that resampling subjects gives, because comparisons share subjects.

    `statistic` takes how often each subject was drawn, int64 [subjects].
    """
    rng = np.random.default_rng(seed)
    drawn = [np.bincount(rng.integers(subjects, size=subjects), minlength=subjects) for _ in range(repeats)]
    values = np.array([statistic(weights.astype(np.int64)) for weights in drawn])
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    point = statistic(np.ones(subjects, np.int64))
    return Interval(float(point), float(low), float(high))


def poisson_upper(count: float, *, level: float = 0.95) -> float:
    """Returns the one-sided upper limit of a Poisson mean of which `count` events were seen (Garwood 1936).

    `count` need not be whole: clusters make a number of events as good as fewer independent ones.
    """
    if count < 0:
        raise ValueError("a count is not negative")
    low, high = count, count + 8 * math.sqrt(count + 1) + 24
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _gamma_cdf(count + 1, middle) < level else (low, middle)
    return (low + high) / 2


def _gamma_cdf(shape: float, x: float) -> float:
    """Computes the regularised lower incomplete gamma function: a series below its middle, else Lentz's
    continued fraction (Press et al., Numerical Recipes, 6.2)."""
    if x <= 0:
        return 0.0
    front = math.exp(shape * math.log(x) - x - math.lgamma(shape))
    if x < shape + 1:
        term = total = 1 / shape
        for n in range(1, 1_000_000):
            term *= x / (shape + n)
            total += term
            if term < total * 1e-15:
                break
        return total * front
    tiny = 1e-300
    b = x + 1 - shape
    c, d = 1 / tiny, 1 / b
    fraction = d
    for n in range(1, 1_000_000):
        a, b = -n * (n - shape), b + 2
        d = 1 / _nonzero(a * d + b, tiny)
        c = _nonzero(b + a / c, tiny)
        fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return 1 - front * fraction


def _solve(rising: Callable[[float], float], target: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < target else (low, middle)
    return (low + high) / 2


def _beta_cdf(x: float, a: float, b: float) -> float:
    """Computes the regularised incomplete beta function by its continued fraction (Lentz's method)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _beta_cdf(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x)
    front = math.exp(log_front + b * math.log1p(-x)) / a
    tiny, c = 1e-300, 1.0
    d = 1.0 / max(1 - (a + b) * x / (a + 1), tiny)
    fraction = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / _nonzero(1 + even * d, tiny)
        c = _nonzero(1 + even / c, tiny)
        fraction *= c * d
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _nonzero(1 + odd * d, tiny)
        c = _nonzero(1 + odd / c, tiny)
        fraction *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * fraction


def _nonzero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
