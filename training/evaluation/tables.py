"""Formats an evaluation as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from training.evaluation.conditions import ConditionFigures
from training.evaluation.evaluate import Evaluation
from training.evaluation.figures import Figures
from training.evaluation.folds import FoldTable
from training.evaluation.report import percent, rate_name


def evaluation_tables(evaluation: Evaluation) -> tuple[Table, ...]:
    """Returns the tables that the evaluation has: by condition, the 2 x 2, the worst mask, the open set."""
    label = "SYNTHETIC: " if evaluation.synthetic else ""
    points = evaluation.asked.fmr_points
    tables = [_conditions(f"{label}{evaluation.encoder}", evaluation.conditions, points)]
    if evaluation.matrix:
        tables.append(_conditions(f"{label}masked or not on either side", evaluation.matrix, points))
    if evaluation.masks is not None:
        worst = evaluation.masks.worst
        made = _table(f"{label}worst of {len(evaluation.masks.cells)} masks", ("mask", "spectrum"), points)
        made.add_row(worst.mask, worst.spectrum.value, *_figures(worst.figures, points))
        tables.append(made)
    rows = [
        (one.condition, rate_name(point.fpir), percent(point.fnir))
        for one in evaluation.open_set
        for point in one.figures.points
    ]
    if rows:
        made = Table(title=f"{label}open set, half of the subjects enrolled, then swapped")
        for name in ("probes", "FPIR", "FNIR %"):
            made.add_column(name)
        for row in rows:
            made.add_row(*row)
        tables.append(made)
    return tuple(tables)


def fold_table(found: FoldTable, points: Sequence[float], *, title: str) -> Table:
    """Returns mean and standard deviation over folds, a row for each condition of the probes."""
    made = Table(title=title)
    for name in ("probes", "gallery", "rank-1 %", *(f"VR at FMR {rate_name(p)}" for p in points), "folds"):
        made.add_column(name)
    for cell in (*found.conditions, *found.matrix):
        rates = [percent(cell.tar[p]) if p in cell.tar else "not supported" for p in points]
        state = _state(cell.gallery_masked)
        made.add_row(str(cell.condition), state, percent(cell.rank1), *rates, str(cell.rank1.folds))
    return made


def _conditions(title: str, cells: Sequence[ConditionFigures], points: Sequence[float]) -> Table:
    made = _table(title, ("probes", "gallery"), points)
    for cell in cells:
        made.add_row(str(cell.condition), _state(cell.gallery_masked), *_figures(cell.figures, points))
    return made


def _table(title: str, first: Sequence[str], points: Sequence[float]) -> Table:
    made = Table(title=title)
    for name in (*first, "rank-1 %", *(f"VR at FMR {rate_name(p)}" for p in points), "FTA %", "probes"):
        made.add_column(name)
    return made


def _figures(found: Figures, points: Sequence[float]) -> list[str]:
    rates = [percent(found.tar[p]) if p in found.tar else "not supported" for p in points]
    return [percent(found.rank1), *rates, percent(found.fta), str(found.probes)]


def _state(masked: bool) -> str:
    return "masked" if masked else "unmasked"
