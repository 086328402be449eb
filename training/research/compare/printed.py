"""Collects results to the values of a table: over seeds within a fold, then over folds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from faces.rates.intervals import Interval
from faces.rates.rank1 import paired_difference, success_rate, sum_runs
from training.research.compare.plan import Arm, ColumnEntry, Plan
from training.research.compare.result import Found, Rate, Result


@dataclass(frozen=True, slots=True)
class Value:
    """One figure of one arm: a rate in percent for each fold.

    `doubt`: so few subjects cannot support the FAR; `paper`: what the paper prints.
    """

    test: str
    far: float | None
    rates: tuple[Rate, ...]
    doubt: bool = False
    paper: float | None = None

    @property
    def name(self) -> str:
        """The figure without the test set."""
        return figure_name(self.far)

    @property
    def mean(self) -> float:
        return float(np.mean([rate.value for rate in self.rates]))

    @property
    def std(self) -> float:
        """The standard deviation over folds (ddof 0); 0 of one fold."""
        return float(np.std([rate.value for rate in self.rates]))

    def facts(self) -> dict[str, Any]:
        """The value for JSON."""
        return {
            "test": self.test,
            "figure": self.name,
            "mean": self.mean if self.rates else None,
            "std": self.std if len(self.rates) > 1 else None,
            "folds": [rate.value for rate in self.rates],
            "paper": self.paper,
        }


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the paper with our values."""

    labels: tuple[str, ...]
    arm: str
    masked: bool
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Rank-1 of one arm minus that of another, in percentage points, of the same probes and seeds.

    `gain`: with its interval on one fold; over several folds its mean, with the standard deviation `std`.
    """

    arm: str
    minus: str
    test: str
    masked: bool
    gain: Interval
    folds: int
    std: float = 0.0


def figure_name(far: float | None) -> str:
    return "rank-1" if far is None else f"VR@FAR {100 * far:g} %"


def value_of(results: Sequence[Result], arm: str, test: str, far: float | None, *, masked: bool) -> Value:
    """Collects a figure of an arm: seeds are pooled within a fold."""
    rates, doubt = [], False
    for runs in _by_fold(results, arm, test, masked=masked).values():
        if far is None:
            pooled = success_rate(sum_runs([run.counts() for run in runs])).in_percent()
            rates.append(Rate(value=pooled.value, low=pooled.low, high=pooled.high))
            continue
        points = [point for run in runs for point in run.vr if point.far == far]
        if points:
            doubt = doubt or any(point.doubt is not None for point in points)
            mean = Rate(value=float(np.mean([point.vr.value for point in points])))
            rates.append(points[0].vr if len(points) == 1 else mean)
    return Value(test, far, tuple(rates), doubt)


def printed_lines(plan: Plan, results: Sequence[Result]) -> list[Line]:
    """Returns the paper's rows whose arm was run."""
    lines = []
    for row in plan.rows:
        columns: tuple[ColumnEntry, ...] = plan.file.column
        values = tuple(value_of(results, row.arm, c.test, c.far, masked=row.masked) for c in columns)
        if row.paper:
            values = tuple(replace(v, paper=p) for v, p in zip(values, row.paper, strict=True))
        if any(value.rates for value in values):
            lines.append(Line(row.labels, row.arm, row.masked, values))
    return lines


def differences_of(plan: Plan, results: Sequence[Result], tests: Sequence[str]) -> list[Difference]:
    """Returns every difference of the plan whose two arms were run on the same folds and seeds."""
    found = []
    for arm, minus in plan.differences:
        for test in tests:
            for masked in (True, False):
                mine = _by_fold(results, arm, test, masked=masked)
                theirs = _by_fold(results, minus, test, masked=masked)
                shared = [fold for fold in mine if len(mine[fold]) == len(theirs.get(fold, ()))]
                if shared:
                    gains = [
                        paired_difference(
                            [run.counts() for run in mine[fold]], [run.counts() for run in theirs[fold]]
                        )
                        for fold in shared
                    ]
                    values = [gain.value for gain in gains]
                    mean = float(np.mean(values))
                    gain = gains[0] if len(gains) == 1 else Interval(mean, mean, mean)
                    std = float(np.std(values))
                    found.append(Difference(arm, minus, test, masked, gain, len(gains), std))
    return found


def lr_and_seeds(results: Sequence[Result], arm: Arm) -> tuple[str, str]:
    """The learning rate and the number of seeds of an arm, as text; no rate of an untrained one."""
    mine = [result for result in results if result.arm == arm.name]
    rates = sorted({result.lr for result in mine}) if arm.recipe is not None else []
    return " ".join(f"{rate:g}" for rate in rates), str(len({result.seed for result in mine}))


def tests_in(results: Sequence[Result], plan: Plan) -> list[str]:
    """The names of the test sets, those of the plan first."""
    known = list(plan.names) or ["own"]
    found = {name for result in results for name in result.found} - {"validation", "test"}
    return [*known, *sorted(found - set(known))]


def _by_fold(results: Sequence[Result], arm: str, test: str, *, masked: bool) -> dict[str, list[Found]]:
    """What was found of an arm by fold, in order of the seeds."""
    by_fold: dict[str, list[Found]] = defaultdict(list)
    for result in sorted(results, key=lambda one: one.seed):
        found = result.of(test, masked=masked) if result.arm == arm else None
        if found is not None:
            by_fold[result.fold].append(found)
    return by_fold
