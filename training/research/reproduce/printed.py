"""The rows that the paper prints, filled with the results: one value for each of its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.research.reproduce.measure import Cell, Rate
from training.research.reproduce.published import VR_POINTS, Arm, Column, On, Plan, Published
from training.research.reproduce.run import Result

NAMES = {On.OWN: "CASIA NIR-VIS 2.0", On.OULU: "Oulu-CASIA", On.BUAA: "BUAA-VisNir"}


@dataclass(frozen=True, slots=True)
class Value:
    """One figure of one row: its rates in percent, one for each fold, and what the paper prints.

    `doubt`: so few subjects cannot support the FAR.
    """

    column: Column
    rates: tuple[Rate, ...]
    doubt: bool
    paper: float | None

    @property
    def name(self) -> str:
        """The figure without the data set."""
        return figure_name(self.column.far)

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
            "on": self.column.on.value,
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


def figure_name(far: float | None) -> str:
    return "rank-1" if far is None else f"VR@FAR {100 * far:g} %"


def printed_lines(plan: Plan, results: Sequence[Result]) -> list[Line]:
    """Returns the paper's rows whose arm the plan still has and was run."""
    arms = {arm.name: arm for arm in plan.arms}
    lines = []
    for row in plan.rows:
        if row.arm in arms:
            values = tuple(_value(arms[row.arm], row.masked, column, results) for column in plan.columns)
            if any(value.rates for value in values):
                lines.append(Line(row.labels, row.arm, row.masked, values))
    return lines


def cells_of(results: Sequence[Result], arm: str, on: On, masked: bool) -> list[Cell]:
    """Returns the cells of an arm, one for each fold."""
    return [
        cell
        for result in results
        if result.arm == arm
        for cell in result.cells
        if (cell.on, cell.masked) == (on, masked)
    ]


def rates_at(cells: Sequence[Cell], far: float | None) -> tuple[tuple[Rate, ...], bool]:
    """Returns the rates of a figure, one for each cell, and whether any is in doubt."""
    if far is None:
        return tuple(cell.rank1 for cell in cells), False
    points = [cell.vr[VR_POINTS.index(far)] for cell in cells]
    return tuple(point.vr for point in points), any(point.doubt for point in points)


def _value(arm: Arm, masked: bool, column: Column, results: Sequence[Result]) -> Value:
    rates, doubt = rates_at(cells_of(results, arm.name, column.on, masked), column.far)
    paper = next((p for p in arm.paper if (p.on, p.masked) == (column.on, masked)), None)
    return Value(column, rates, doubt, None if paper is None else _figure(paper, column.far))


def _figure(paper: Published, far: float | None) -> float | None:
    return paper.rank1 if far is None else paper.vr.get(far)
