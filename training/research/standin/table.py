"""The benchmark's table: intervals over test subjects, and HSST minus plain+ of the same loss."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from training.evaluation.intervals import Interval
from training.evaluation.rank1 import SubjectCounts, paired_difference, success_rate, sum_runs
from training.research.standin.grid import PROBE_CONDITIONS

Runs = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Line:
    """One arm on one test set. `lr`: None where nothing is trained. Rates in percent; `gain`: in points, of
    the probes of each condition over the arm it is compared with."""

    arm: str
    lr: float | None
    seeds: int
    rates: tuple[Interval, ...]
    against: str | None
    gain: tuple[Interval, ...]

    @property
    def rate(self) -> str:
        return "" if self.lr is None else f"{self.lr:g}"


def lines(chosen: dict[str, Runs], *, test: str, against: dict[str, str]) -> list[Line]:
    """`against`: which arm each arm is compared with, where it is."""
    return [_line(chosen, name, test, against.get(name)) for name in chosen]


def _line(chosen: dict[str, Runs], name: str, test: str, other: str | None) -> Line:
    runs = chosen[name]
    rates = tuple(success_rate(sum_runs(hits_of(runs, test, c))).in_percent() for c in PROBE_CONDITIONS)
    gain: tuple[Interval, ...] = ()
    if other is not None:
        pairs = [(hits_of(runs, test, c), hits_of(chosen[other], test, c)) for c in PROBE_CONDITIONS]
        gain = tuple(paired_difference(a, b) for a, b in pairs)
    trained = not math.isnan(runs[0]["loss"])
    return Line(name, runs[0]["lr"] if trained else None, len(runs), rates, other, gain)


def rivals(names: list[str], *, mode: str) -> dict[str, str]:
    """Each HSST arm and the plain+ arm of its loss in `mode` ("" is the paper's), as far as it was run."""
    found = {}
    for name in names:
        if not name.startswith("HSST"):
            continue
        loss = name.removeprefix("HSST ").split(",")[0]
        suffix = f", {mode} BN" if mode else ""
        plain = [f"{kind} {loss}{suffix}" for kind in ("plain+", "plain")]
        other = next((one for one in plain if one in names), None)
        if other is not None:
            found[name] = other
    return found


def hits_of(runs: Runs, test: str, condition: str) -> list[SubjectCounts]:
    """One `SubjectCounts` for each seed; subjects are numbered in the set's order."""
    found = []
    for run in runs:
        facts = run["found"][test][condition]
        ids = np.arange(len(facts["hits"]), dtype=np.int64)
        found.append(
            SubjectCounts(ids, np.array(facts["hits"], np.int64), np.array(facts["probes"], np.int64))
        )
    return found


def markdown(found: list[Line]) -> str:
    """As a table of a document."""
    head = "| arm | lr | seeds | masked | unmasked | masked, minus plain+ | unmasked, minus plain+ |"
    rows = [head, "|---|---|---|---|---|---|---|"]
    for line in found:
        cells = [line.arm, line.rate, str(line.seeds), *(written(rate) for rate in line.rates)]
        gains = [written(gain, sign=True) for gain in line.gain] or ["", ""]
        rows.append("| " + " | ".join([*cells, *gains]) + " |")
    return "\n".join(rows) + "\n"


def as_json(found: list[Line]) -> bytes:
    return json.dumps([asdict(line) for line in found], indent=1).encode()


def written(value: Interval, *, sign: bool = False) -> str:
    form = "+.1f" if sign else ".1f"
    return f"{value.value:{form}} [{value.low:{form}}, {value.high:{form}}]"
