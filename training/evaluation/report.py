"""Writes an evaluation as JSON, and as one HTML page that contains its plots."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from faces.files import write_whole
from faces.rates.intervals import Interval
from faces.types import Condition
from training.evaluation.evaluate import Curves, Evaluation
from training.evaluation.folds import FoldTable, Spread
from training.evaluation.masks import MaskMatrix
from training.evaluation.plots import cmc_png, det_png

REPORT_JSON, REPORT_HTML, DET_PNG, CMC_PNG = "report.json", "report.html", "det.png", "cmc.png"
FOLDS_JSON = "folds.json"
TEMPLATE = "report.html.j2"


def percent(rate: float | Interval | Spread) -> str:
    """Formats a rate in percent without the sign: `0.12`, `93.6 [92.1, 95.0]` or `93.60 ± 0.42`."""
    if isinstance(rate, Interval):
        return f"{100 * rate.value:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
    if isinstance(rate, Spread):
        return f"{100 * rate.mean:.2f} ± {100 * rate.std:.2f}"
    return f"{100 * rate:.2f}"


def rate_name(rate: float) -> str:
    """Formats an FMR or FPIR as a label: `0.1 %`."""
    return f"{100 * rate:g} %"


def as_json(value: object) -> Any:
    """Converts dataclasses to JSON objects, conditions and other keys to text."""
    if isinstance(value, Condition):
        return str(value)
    if isinstance(value, MaskMatrix):
        return {"worst": value.worst.mask, "cells": as_json(value.cells)}
    if is_dataclass(value):
        return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {f"{key:g}" if isinstance(key, float) else str(key): as_json(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value


def write_report(out: Path, evaluation: Evaluation, curves: Curves, *, command: str, date: str) -> None:
    """Writes `report.json`, `report.html`, `det.png` and `cmc.png` into a folder, each whole.

    The report shows `command` unchanged, so it must not contain a path.
    """
    out.mkdir(parents=True, exist_ok=True)
    label = " (SYNTHETIC)" if evaluation.synthetic else ""
    title = f"{evaluation.set_name}, {evaluation.split}{label}"
    det, cmc = det_png(curves.det, title=title), cmc_png(curves.cmc, title=title)
    write_whole(out / DET_PNG, det)
    write_whole(out / CMC_PNG, cmc)
    facts = {"command": command, "date": date, **as_json(evaluation)}
    write_whole(out / REPORT_JSON, (json.dumps(facts, indent=1, allow_nan=False) + "\n").encode())
    page = render(evaluation, det=det, cmc=cmc, command=command, date=date)
    write_whole(out / REPORT_HTML, page.encode())


def write_fold_report(out: Path, found: FoldTable, *, command: str, date: str) -> None:
    """Writes `folds.json`: the figures of every fold, and mean and standard deviation of each condition."""
    out.mkdir(parents=True, exist_ok=True)
    facts = {"command": command, "date": date, **as_json(found)}
    write_whole(out / FOLDS_JSON, (json.dumps(facts, indent=1, allow_nan=False) + "\n").encode())


def render(evaluation: Evaluation, *, det: bytes, cmc: bytes, command: str, date: str) -> str:
    """Renders the page, which needs no other file."""
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            e=evaluation,
            plots=[("DET", _inline(det)), ("CMC", _inline(cmc))],
            command=command,
            date=date,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("training.evaluation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, rate=rate_name)
    return environment


def _inline(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
