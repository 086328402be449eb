"""Calls that come at their own pace, whether earlier ones are answered or not, as callers in the world do.

The time of a call runs from when it was due, so a service that falls behind cannot hide it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.threads import share_out

Floats = NDArray[np.float64]
# More than a service has in work at most (`HALFLIGHT_MAX_REQUESTS`), with the answers that are under way.
CALLERS = 96
# Nobody waits longer for an answer: a later one is as good as none.
DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """`rate`: calls that were offered a second. `taken`: whether each was answered in time and not refused.

    `seconds`: from when each was due to its answer, float64 [n]. `lasted_s`: the whole run.
    """

    rate: float
    seconds: Floats
    taken: NDArray[np.bool_]
    lasted_s: float

    @property
    def goodput(self) -> float:
        """Calls a second that were answered in time."""
        return float(self.taken.sum()) / self.lasted_s


def even(rate: float, count: int) -> Floats:
    """Seconds at which calls are due that come evenly."""
    return np.arange(count) / rate


def at_random(rate: float, count: int, rng: np.random.Generator) -> Floats:
    """Seconds at which calls are due that come at random (Poisson)."""
    return np.cumsum(rng.exponential(1 / rate, count))


def offer(call: Callable[[bytes], bool], data: Sequence[bytes], due: Floats) -> Answers:
    """Makes each call when it is due, with the photos in turn. `call` returns whether it was taken."""
    seconds, taken = np.zeros(len(due)), np.zeros(len(due), np.bool_)
    began = time.perf_counter()

    def one(i: int) -> None:
        at = began + float(due[i])
        if (wait := at - time.perf_counter()) > 0:
            time.sleep(wait)
        answered = call(data[i % len(data)])
        seconds[i] = time.perf_counter() - at
        taken[i] = answered and seconds[i] <= DEADLINE_S

    share_out(len(due), one, min(CALLERS, len(due)))
    lasted = time.perf_counter() - began
    return Answers(len(due) / float(due[-1]) if due[-1] > 0 else float(len(due)), seconds, taken, lasted)
