"""Writes results as Markdown and JSON: ours beside the paper's, or SYNTHETIC in every line and name.

The paper's rows and columns come first, as it prints them. What it does not print stands below a line that
says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from faces.files import write_whole
from training.research.reproduce.measure import Rate
from training.research.reproduce.printed import (
    NAMES,
    Line,
    cells_of,
    figure_name,
    printed_lines,
    rates_at,
)
from training.research.reproduce.published import VR_POINTS, On, Plan
from training.research.reproduce.run import Result, departures

SYNTHETIC = "SYNTHETIC"
FEW = "†"
BELOW = "below this line stands what the paper does not print"
# Rank-1, then VR at each FAR.
FIGURES: tuple[float | None, ...] = (None, *VR_POINTS)


def lines_of(plan: Plan, results: Sequence[Result], notes: Sequence[str] = ()) -> list[str]:
    """Returns the lines of the table. Raises ValueError if some results are synthetic and some are real."""
    if len({result.synthetic for result in results}) > 1:
        raise ValueError("synthetic and real results do not belong in one table")
    synthetic = bool(results) and results[0].synthetic
    mark = f"{SYNTHETIC}: " if synthetic else ""
    printed = printed_lines(plan, results)
    lines = [f"# {mark}{plan.title}", ""]
    if printed:
        lines += [*_paper_table(plan, printed, synthetic=synthetic), ""]
    extra = list(_extra_rows(plan, results, printed, synthetic=synthetic))
    if extra:
        if plan.rows:
            lines += [f"**{mark}{BELOW}.**", ""]
        columns = [SYNTHETIC if synthetic else "test subjects of", "arm", "probes"]
        lines += [*_table([*columns, *(f"{figure_name(far)}, %" for far in FIGURES)], extra), ""]
    lines += [f"- {mark}{text}" for text in _remarks(results, notes)]
    return [line for line in lines if line or not synthetic]


def write_table(out: Path, plan: Plan, results: Sequence[Result], lines: Sequence[str]) -> tuple[str, str]:
    """Writes `table1.md` and `table1.json`, named SYNTHETIC-... if they are; returns the names."""
    synthetic = bool(results) and results[0].synthetic
    stem = f"{SYNTHETIC}-{plan.table}" if synthetic else plan.table
    rows = []
    for line in printed_lines(plan, results):
        values = [value.facts() for value in line.values]
        if synthetic:
            # No figure of the paper goes into a file of synthetic results.
            values = [{key: fact for key, fact in value.items() if key != "paper"} for value in values]
        labels = dict(zip(plan.heads, line.labels, strict=True))
        rows.append({**labels, "arm": line.arm, "masked": line.masked, "values": values})
    facts = {
        "synthetic": synthetic,
        "table": plan.table,
        "title": plan.title,
        "departures": list(departures(results)),
        "rows": rows,
        "results": [json.loads(result.model_dump_json()) for result in results],
    }
    write_whole(out / f"{stem}.md", ("\n".join(lines) + "\n").encode())
    write_whole(out / f"{stem}.json", (json.dumps(facts, indent=1, allow_nan=False) + "\n").encode())
    return f"{stem}.md", f"{stem}.json"


def _paper_table(plan: Plan, printed: Sequence[Line], *, synthetic: bool) -> list[str]:
    several = len({column.on for column in plan.columns}) > 1
    # The stand-in has one set of test subjects, and no columns for others.
    kept = [i for i in range(len(plan.columns)) if not synthetic or any(p.values[i].rates for p in printed)]
    with_paper = not synthetic and any(v.paper is not None for line in printed for v in line.values)
    heads = [*([SYNTHETIC] if synthetic else []), *plan.heads]
    for column in (plan.columns[i] for i in kept):
        where = f"{NAMES[column.on]}: " if several and not synthetic else ""
        heads += [f"{where}{figure_name(column.far)}, %", *(["paper"] if with_paper else [])]
    rows = []
    for line in printed:
        row = [*([SYNTHETIC] if synthetic else []), *line.labels]
        for value in (line.values[i] for i in kept):
            row.append(_shown(value.rates, value.doubt))
            row += ([""] if value.paper is None else [f"{value.paper:g}"]) if with_paper else []
        rows.append(row)
    return _table(heads, rows)


def _extra_rows(
    plan: Plan, results: Sequence[Result], printed: Sequence[Line], *, synthetic: bool
) -> Iterator[list[str]]:
    """Rows of what is not among the paper's; figures that stand above are left out."""
    above = {(line.arm, v.column.on, line.masked, v.column.far) for line in printed for v in line.values}
    for on in On:
        for masked in (False, True):
            for arm in plan.arms:
                cells = cells_of(results, arm.name, on, masked)
                wanted = [far for far in FIGURES if (arm.name, on, masked, far) not in above]
                if cells and wanted:
                    shown = [_shown(*rates_at(cells, far)) if far in wanted else "" for far in FIGURES]
                    state = f"{'masked' if masked else 'unmasked'} NIR"
                    yield [SYNTHETIC if synthetic else NAMES[on], arm.name, state, *shown]


def _remarks(results: Sequence[Result], notes: Sequence[str]) -> list[str]:
    remarks = [*notes, *(f"not the paper's: {text}" for text in departures(results))]
    if any(point.doubt for result in results for cell in result.cells for point in cell.vr):
        remarks.append(f"{FEW}: so few subjects do not support that FAR by the rule of 30")
    folds = len({result.fold for result in results})
    several = f"mean ± standard deviation of {folds} folds"
    return [*remarks, "intervals: 95 %, by bootstrap of subjects" if folds == 1 else several]


def _shown(rates: Sequence[Rate], doubt: bool) -> str:
    return rate_text(rates) + (f" {FEW}" if doubt else "") if rates else ""


def rate_text(rates: Sequence[Rate]) -> str:
    """Formats one fold with its interval, or mean and standard deviation (ddof 0) of several folds."""
    if len(rates) == 1:
        return f"{rates[0].value:.2f} [{rates[0].low:.1f}, {rates[0].high:.1f}]"
    values = [rate.value for rate in rates]
    return f"{np.mean(values):.2f} ± {np.std(values):.2f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_markdown(heads), _markdown(["---"] * len(heads)), *map(_markdown, rows)]


def _markdown(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
