"""Writes results as Markdown and JSON: ours beside the paper's, or SYNTHETIC in every line and name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from faces.files import write_whole
from training.research.reproduce.measure import Cell, Rate
from training.research.reproduce.published import VR_POINTS, Arm, On, Plan, Published
from training.research.reproduce.run import Result, departures

SYNTHETIC = "SYNTHETIC"
NAMES = {On.OWN: "CASIA NIR-VIS 2.0", On.OULU: "Oulu-CASIA", On.BUAA: "BUAA-VisNir"}
FEW = "†"


def lines_of(plan: Plan, results: Sequence[Result], notes: Sequence[str] = ()) -> list[str]:
    """Returns the lines of the table. Raises ValueError if some results are synthetic and some are real."""
    if len({result.synthetic for result in results}) > 1:
        raise ValueError("synthetic and real results do not belong in one table")
    synthetic = bool(results) and results[0].synthetic
    mark = f"{SYNTHETIC}: " if synthetic else ""
    wanted = [(on, masked) for on in On for masked in (False, True)]
    first = [SYNTHETIC] if synthetic else ["test subjects of"]
    columns = [*first, "arm", "probes", "rank-1 %"] + ([] if synthetic else ["paper"])
    for far in VR_POINTS:
        columns += [f"VR@FAR {100 * far:g} %"] + ([] if synthetic else ["paper"])
    rows = [
        [SYNTHETIC if synthetic else NAMES[on], *_row(arm, on, masked, cells, with_paper=not synthetic)]
        for on, masked in wanted
        for arm in plan.arms
        if (cells := _cells(results, arm, on, masked))
    ]
    lines = [f"# {mark}{plan.title}", ""]
    lines += [_markdown(columns), _markdown(["---"] * len(columns)), *map(_markdown, rows), ""]
    remarks = [*notes, *(f"not the paper's: {text}" for text in departures(results))]
    if any(point.doubt for result in results for cell in result.cells for point in cell.vr):
        remarks.append(f"{FEW}: so few subjects do not support that FAR by the rule of 30")
    folds = len({result.fold for result in results})
    remarks.append(
        "intervals: 95 %, by bootstrap of subjects" if folds == 1 else f"mean ± deviation of {folds} folds"
    )
    for text in remarks:
        lines.append(f"- {mark}{text}")
    return [line for line in lines if line or not synthetic]


def write_table(out: Path, plan: Plan, results: Sequence[Result], lines: Sequence[str]) -> tuple[str, str]:
    """Writes `table1.md` and `table1.json`, named SYNTHETIC-... if they are; returns the names."""
    synthetic = bool(results) and results[0].synthetic
    stem = f"{SYNTHETIC}-{plan.table}" if synthetic else plan.table
    facts = {
        "synthetic": synthetic,
        "table": plan.table,
        "title": plan.title,
        "results": [json.loads(result.model_dump_json()) for result in results],
    }
    if not synthetic:
        facts["published"] = [
            {
                "arm": arm.name,
                "cells": [
                    {
                        "on": p.on,
                        "masked": p.masked,
                        "rank1": p.rank1,
                        "vr": {f"{k:g}": v for k, v in p.vr.items()},
                    }
                    for p in arm.paper
                ],
            }
            for arm in plan.arms
        ]
    write_whole(out / f"{stem}.md", ("\n".join(lines) + "\n").encode())
    write_whole(out / f"{stem}.json", (json.dumps(facts, indent=1, allow_nan=False) + "\n").encode())
    return f"{stem}.md", f"{stem}.json"


def _cells(results: Sequence[Result], arm: Arm, on: On, masked: bool) -> list[Cell]:
    """Returns the cells of an arm, one for each fold."""
    return [
        cell
        for result in results
        if result.arm == arm.name
        for cell in result.cells
        if (cell.on, cell.masked) == (on, masked)
    ]


def _row(arm: Arm, on: On, masked: bool, cells: Sequence[Cell], *, with_paper: bool) -> list[str]:
    paper = next((p for p in arm.paper if (p.on, p.masked) == (on, masked)), Published(on, masked))
    row = [arm.name, f"{'masked' if masked else 'unmasked'} NIR", rate_text([cell.rank1 for cell in cells])]
    row += [_known(paper.rank1)] if with_paper else []
    for i, far in enumerate(VR_POINTS):
        few = f" {FEW}" if any(cell.vr[i].doubt for cell in cells) else ""
        row.append(rate_text([cell.vr[i].vr for cell in cells]) + few)
        row += [_known(paper.vr.get(far))] if with_paper else []
    return row


def rate_text(rates: Sequence[Rate]) -> str:
    """Formats one fold with its interval, or mean and standard deviation (ddof 0) of several folds."""
    if len(rates) == 1:
        return f"{rates[0].value:.2f} [{rates[0].low:.1f}, {rates[0].high:.1f}]"
    values = [rate.value for rate in rates]
    return f"{np.mean(values):.2f} ± {np.std(values):.2f}"


def _known(figure: float | None) -> str:
    return "" if figure is None else f"{figure:g}"


def _markdown(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
