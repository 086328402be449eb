"""Makes the benchmark's table: rates with intervals over test subjects, and HSST minus plain+."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from faces.rates.intervals import Interval
from faces.rates.rank1 import SubjectCounts, paired_difference, success_rate, sum_runs
from training.research.standin.grid import PROBE_CONDITIONS

Runs = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Line:
    """One arm on one test set, by condition of the probes.

    `lr`: None if nothing was trained; `rates`: in percent; `gain`: in points, over the arm `against`, which
    it is compared with.
    """

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
    """Makes the lines. `against`: the arm that an arm is compared with."""
    return [_line(chosen, name, test, against.get(name)) for name in chosen]


def _line(chosen: dict[str, Runs], name: str, test: str, other: str | None) -> Line:
    runs = chosen[name]
    rates = tuple(
        success_rate(sum_runs(counts_of_seeds(runs, test, c))).in_percent() for c in PROBE_CONDITIONS
    )
    gain: tuple[Interval, ...] = ()
    if other is not None:
        pairs = [
            (counts_of_seeds(runs, test, c), counts_of_seeds(chosen[other], test, c))
            for c in PROBE_CONDITIONS
        ]
        gain = tuple(paired_difference(a, b) for a, b in pairs)
    trained = not math.isnan(runs[0]["loss"])
    return Line(name, runs[0]["lr"] if trained else None, len(runs), rates, other, gain)


def comparisons(names: list[str], *, mode: str) -> dict[str, str]:
    """Pairs each HSST arm with the plain+ arm of its loss in `mode` ("": the paper's), if that was run."""
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


def counts_of_seeds(runs: Runs, test: str, condition: str) -> list[SubjectCounts]:
    """Returns the counts of each seed's run; subjects are numbered in the set's order."""
    found = []
    for run in runs:
        facts = run["found"][test][condition]
        ids = np.arange(len(facts["hits"]), dtype=np.int64)
        found.append(
            SubjectCounts(ids, np.array(facts["hits"], np.int64), np.array(facts["probes"], np.int64))
        )
    return found


def markdown(found: list[Line]) -> str:
    """Returns the lines as a Markdown table."""
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
