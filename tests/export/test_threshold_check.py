"""The interval of an observed FMR: its value is the plain share, and people are drawn, not comparisons."""

from __future__ import annotations

import numpy as np
import pytest

from export.threshold_check import PairCheck, fmr_interval, table
from faces.rates.intervals import Interval
from faces.rates.resampling import weights
from faces.rates.tail import Impostors


def made(people: int, *, probes: int = 2, seed: int = 0) -> Impostors:
    rng = np.random.default_rng(seed)
    own = np.repeat(np.arange(people), probes)
    scores = rng.normal(0, 0.1, (len(own), people)).astype(np.float32)
    return Impostors(scores, np.eye(people, dtype=np.float32), own, (None,) * people)


def test_value_and_interval_are_those_of_counting_every_comparison_of_drawn_people() -> None:
    impostors, threshold = made(30), 0.15
    accepted = impostors.probes >= threshold
    different = impostors.own[:, None] != np.arange(30)
    rates = []
    for drawn in weights(30):
        counted = drawn[impostors.own][:, None] * drawn[None, :] * different
        rates.append((counted * accepted).sum() / counted.sum())
    found = fmr_interval(impostors, threshold)
    assert found.value == pytest.approx((accepted & different).sum() / different.sum())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(rates, [0.025, 0.975])))


def test_one_person_whom_many_resemble_widens_the_interval() -> None:
    spread, alike = made(60), made(60)
    spread.probes[:] = alike.probes[:] = 0.0
    for i in range(60):
        spread.probes[2 * i, (i + 1) % 60] = 0.9
        alike.probes[2 * i, 0] = 0.9
    one, other = fmr_interval(spread, 0.5), fmr_interval(alike, 0.5)
    assert one.value == pytest.approx(other.value, rel=0.03)
    assert other.high - other.low > 2 * (one.high - one.low)


def test_no_false_match_does_not_show_that_there_is_none() -> None:
    found = fmr_interval(made(100), 0.99)
    assert (found.value, found.low) == (0.0, 0.0)
    # 1 - .025 ** (1 / 100), the exact bound for 100 trials without an event.
    assert found.high == pytest.approx(0.0362, abs=1e-4)


@pytest.mark.parametrize(("low", "said"), [(0.002, "exceeded"), (0.0005, "holds")])
def test_a_stated_rate_below_the_interval_is_exceeded(low: float, said: str) -> None:
    one = PairCheck(
        pair="nir-unmasked/nir-unmasked",
        people=100,
        comparisons=39600,
        fmr=1e-3,
        threshold=0.4,
        method="observed",
        upper=0.0011,
        observed=Interval(0.004, low, 0.006),
        fnmr=None,
    )
    assert f"| {said} |" in table([one])
