"""How far probes stand out, by training's generators and by held-out ones, for runs that are compared.

Rank-1 over a hundred probes moves in steps of a point and says little about runs that differ little. The
separation of a probe says more: by how many standard deviations of its scores with everybody else its score
with its own reference lies above their mean. Differences are of the same probes, so they are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.rates.intervals import Interval
from faces.rates.resampling import percentiles, weights
from faces.types import Condition
from training.data.records import DataSetError
from training.matcher.measure import Templates, references

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Of each probe that has a reference [n]: whose it is; whether no other reference scores as high; its
    separation in standard deviations."""

    subject: NDArray[np.str_]
    first: Floats
    separation: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class GapLine:
    """A run on one condition of one set. `rank1_less`, `separation_less`: minus the run that it is compared
    with, over the same probes; None for that run itself."""

    probes: str
    condition: Condition
    run: str
    rank1: float
    separation: float
    rank1_less: Interval | None
    separation_less: Interval | None

    def __str__(self) -> str:
        less = ("", "")
        if self.rank1_less is not None and self.separation_less is not None:
            less = (_signed(self.rank1_less, 1), _signed(self.separation_less, 2))
        figures = f"{self.rank1:.1f} | {less[0]} | {self.separation:.2f} | {less[1]}"
        return f"| {self.condition} | {self.probes} | {self.run} | {figures} |"


def standing(of: Templates, reference: str, probe: str, condition: Condition) -> Standing:
    """`reference`, `probe`: networks of the set's visible references and of its probes of a condition.

    Raises DataSetError if no probe of the condition has a reference.
    """
    rows = of.prepared.rows
    gallery, owner = references(of)
    probes = of.prepared.select(role="probe", masked=condition.masked, spectrum=condition.spectrum)
    found: list[tuple[str, bool, float]] = []
    for row, scores in zip(probes, of.of[probe][probes] @ gallery[reference].T, strict=True):
        own = owner == rows[row].subject
        if own.any():
            best, others = float(scores[own].max()), scores[~own].astype(np.float64)
            found.append((rows[row].subject, best > others.max(), (best - others.mean()) / others.std()))
    if not found:
        raise DataSetError(f"{of.prepared.info.name} has no probe of {condition} with a reference")
    subject, first, separation = zip(*found, strict=True)
    return Standing(np.array(subject), np.array(first, np.float64), np.array(separation, np.float64))


def less(values: Floats, base: Floats, subject: NDArray[np.str_]) -> Interval:
    """The mean of `values` minus that of `base`, both [n] of the same probes; the bootstrap draws people."""
    people, place = np.unique(subject, return_inverse=True)
    total = np.bincount(place, values - base, minlength=len(people))
    count = np.bincount(place, minlength=len(people)).astype(np.float64)
    drawn = weights(len(people))
    return percentiles(float(total.sum() / count.sum()), (drawn @ total) / (drawn @ count))


def gap_lines(
    sets: Mapping[str, Templates], reference: str, runs: Sequence[str], conditions: Sequence[Condition]
) -> list[GapLine]:
    """Every run on every condition of each set; the first run is the one that others are compared with."""
    made = []
    for condition in conditions:
        for name, of in sets.items():
            found = {run: standing(of, reference, run, condition) for run in runs}
            base = found[runs[0]]
            for run, one in found.items():
                beside = None if one is base else base
                made.append(_line(name, condition, run, one, beside))
    return made


def _line(name: str, condition: Condition, run: str, one: Standing, beside: Standing | None) -> GapLine:
    return GapLine(
        probes=name,
        condition=condition,
        run=run,
        rank1=100 * float(one.first.mean()),
        separation=float(one.separation.mean()),
        rank1_less=None if beside is None else less(100 * one.first, 100 * beside.first, one.subject),
        separation_less=None if beside is None else less(one.separation, beside.separation, one.subject),
    )


def _signed(value: Interval, digits: int) -> str:
    return f"{value.value:+.{digits}f} [{value.low:+.{digits}f}, {value.high:+.{digits}f}]"
