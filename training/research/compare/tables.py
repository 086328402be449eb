"""Writes results as Markdown and JSON: ours beside the paper's, or SYNTHETIC in every line and name.

The paper's rows and columns come first, as it prints them. What it does not print stands below a line that
says so, and then the differences between arms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from faces.files import write_whole
from training.research.compare.plan import OWN, Plan
from training.research.compare.printed import (
    Difference,
    Line,
    Value,
    differences_of,
    figure_name,
    lr_and_seeds,
    printed_lines,
    tests_in,
    value_of,
)
from training.research.compare.result import Rate, Result

SYNTHETIC = "SYNTHETIC"
FEW = "†"
BELOW = "below this line stands what the paper does not print"


def lines_of(plan: Plan, results: Sequence[Result], notes: Sequence[str] = ()) -> list[str]:
    """Returns the lines of the table. Raises ValueError if some results are synthetic and some are real."""
    if len({result.synthetic for result in results}) > 1:
        raise ValueError("synthetic and real results do not belong in one table")
    page = _Page(plan, results)
    mark = f"{SYNTHETIC}: " if page.synthetic else ""
    lines = [f"# {mark}{plan.file.title}", ""]
    printed = printed_lines(plan, results)
    if printed:
        lines += [*page.paper_table(printed), ""]
    rows = list(page.other_rows(printed))
    if rows:
        if plan.rows:
            lines += [f"**{mark}{BELOW}.**", ""]
        heads = [
            f"{SYNTHETIC} test" if page.synthetic else "test subjects of",
            "arm",
            "lr",
            "seeds",
            "probes",
        ]
        lines += [*_table([*heads, *(f"{figure_name(far)}, %" for far in page.figures)], rows), ""]
    gains = differences_of(plan, results, page.tests)
    if gains:
        first = [SYNTHETIC] if page.synthetic else []
        heads = [*first, "test subjects of", "arm", "minus", "probes", "rank-1, points"]
        lines += [*_table(heads, [[*first, *page.gain_row(gain)] for gain in gains]), ""]
    lines += [f"- {mark}{text}" for text in [*notes, *page.remarks()]]
    return [line for line in lines if line or not page.synthetic]


def write_table(out: Path, plan: Plan, results: Sequence[Result], lines: Sequence[str]) -> tuple[str, str]:
    """Writes `table1.md` and `table1.json`, named SYNTHETIC-... if they are; returns the names."""
    page = _Page(plan, results)
    stem = f"{SYNTHETIC}-{plan.stem}" if page.synthetic else plan.stem
    rows = []
    for line in printed_lines(plan, results):
        values = [value.facts() for value in line.values]
        if page.synthetic:
            # No figure of the paper goes into a file of synthetic results.
            values = [{key: fact for key, fact in value.items() if key != "paper"} for value in values]
        labels = dict(zip(plan.file.heads, line.labels, strict=True))
        rows.append({**labels, "arm": line.arm, "masked": line.masked, "values": values})
    facts = {
        "synthetic": page.synthetic,
        "plan": plan.stem,
        "title": plan.file.title,
        "departures": list(departures(results)),
        "rows": rows,
        "differences": [asdict(gain) for gain in differences_of(plan, results, page.tests)],
        "results": [json.loads(result.model_dump_json()) for result in results],
    }
    write_whole(out / f"{stem}.md", ("\n".join(lines) + "\n").encode())
    write_whole(out / f"{stem}.json", (json.dumps(facts, indent=1, allow_nan=False) + "\n").encode())
    return f"{stem}.md", f"{stem}.json"


class _Page:
    """The tables of one plan's results."""

    def __init__(self, plan: Plan, results: Sequence[Result]) -> None:
        self.plan, self.results = plan, results
        self.synthetic = bool(results) and results[0].synthetic
        self.tests = tests_in(results, plan)
        # Rank-1, then VR at each FAR.
        self.figures: tuple[float | None, ...] = (None, *plan.file.fars)

    def name(self, test: str) -> str:
        """The test set's name; a real data set is not named beside synthetic results."""
        if self.synthetic:
            return "own test subjects" if test == OWN else test
        return self.plan.name_of(test)

    def paper_table(self, printed: Sequence[Line]) -> list[str]:
        columns = self.plan.file.column
        several = len({column.test for column in columns}) > 1
        with_paper = not self.synthetic and any(v.paper is not None for line in printed for v in line.values)
        # The stand-in has no columns for test sets that it lacks.
        kept = [
            i for i in range(len(columns)) if not self.synthetic or any(p.values[i].rates for p in printed)
        ]
        first = [SYNTHETIC] if self.synthetic else []
        heads = [*first, *self.plan.file.heads]
        for i in kept:
            where = f"{self.name(columns[i].test)}: " if several and not self.synthetic else ""
            heads += [f"{where}{figure_name(columns[i].far)}, %", *(["paper"] if with_paper else [])]
        rows = []
        for line in printed:
            row = [*first, *line.labels]
            for value in (line.values[i] for i in kept):
                row.append(_shown(value))
                row += ([""] if value.paper is None else [f"{value.paper:g}"]) if with_paper else []
            rows.append(row)
        return _table(heads, rows)

    def other_rows(self, printed: Sequence[Line]) -> Iterator[list[str]]:
        """Rows of what is not among the paper's; figures that stand above are left out."""
        above = {(line.arm, v.test, line.masked, v.far) for line in printed for v in line.values if v.rates}
        for test in self.tests:
            for masked in (True, False):
                for arm in self.plan.arms:
                    values = [
                        value_of(self.results, arm.name, test, far, masked=masked) for far in self.figures
                    ]
                    new = [v for v in values if v.rates and (arm.name, test, masked, v.far) not in above]
                    if new:
                        first = [f"{SYNTHETIC} {self.name(test)}" if self.synthetic else self.name(test)]
                        row = [*first, arm.name, *lr_and_seeds(self.results, arm), _state(masked)]
                        yield [*row, *(_shown(v) if v in new else "" for v in values)]

    def gain_row(self, gain: Difference) -> list[str]:
        value = gain.gain
        shown = (
            f"{value.value:+.1f} [{value.low:+.1f}, {value.high:+.1f}]"
            if gain.folds == 1
            else f"{value.value:+.2f} ± {gain.std:.2f}"
        )
        return [self.name(gain.test), gain.arm, gain.minus, _state(gain.masked), shown]

    def remarks(self) -> list[str]:
        remarks = [f"not the plan's: {text}" for text in departures(self.results)]
        doubts = [p.doubt for r in self.results for c in r.found.values() for f in c.values() for p in f.vr]
        if any(doubts):
            remarks.append(f"{FEW}: so few subjects do not support that FAR by the rule of 30")
        folds = len({result.fold for result in self.results})
        several = f"mean ± standard deviation of {folds} folds"
        remarks.append("intervals: 95 %, by bootstrap of subjects" if folds == 1 else several)
        return remarks


def _state(masked: bool) -> str:
    return f"{'masked' if masked else 'unmasked'} NIR"


def departures(results: Sequence[Result]) -> tuple[str, ...]:
    """Returns the departures of all arms, each once."""
    return tuple(dict.fromkeys(text for result in results for text in result.departures))


def _shown(value: Value) -> str:
    return rate_text(value.rates) + (f" {FEW}" if value.doubt else "") if value.rates else ""


def rate_text(rates: Sequence[Rate]) -> str:
    """Formats one fold with its interval, if it has one, or mean and deviation (ddof 0) of several folds."""
    if len(rates) > 1:
        values = [rate.value for rate in rates]
        return f"{np.mean(values):.2f} ± {np.std(values):.2f}"
    (rate,) = rates
    interval = "" if rate.low is None else f" [{rate.low:.1f}, {rate.high:.1f}]"
    return f"{rate.value:.2f}{interval}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_markdown(heads), _markdown(["---"] * len(heads)), *map(_markdown, rows)]


def _markdown(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
