"""How often the stated bound of an FMR holds, in simulated sites whose true FMR is known.

    python -m benchmarks.bounds [--runs 400] [--seed 1]

A site is drawn: so many people, each with one reference and two probes. `service.evaluation.points` sets
its thresholds and states the bound of each, as `halflight evaluate` does. The bound holds if the FMR among
other people of the same kind, from many further sites, is at most as large. It is a bound of 95 %, so it
should hold in 95 of 100 sites; the interval is that of Clopper and Pearson over the runs.

A person is a direction in 24 dimensions. People resemble each other in three ways: `alone` not at all, `hubs`
by a share of one common direction that differs from person to person, `families` of four by a share of .6.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from benchmarks.enrolment import write_json
from faces.rates.intervals import clopper_pearson
from faces.rates.scores import Comparison, Side
from faces.types import Condition, Pair, Spectrum
from service.evaluation.points import site_points
from training.detector.report import markdown_table

Kind = Literal["alone", "hubs", "families"]
Vectors = NDArray[np.float32]

DIMENSIONS, NOISE, FAMILY, FAMILY_SHARE, MOST_HUB = 24, 0.5, 4, 0.6, 0.5
PROBES = 2
FMR_POINTS = (3e-2, 1e-2)
# People whose comparisons stand for the truth: some millions of them.
OTHERS = 6000
CASES: tuple[tuple[Kind, int], ...] = (
    *(("alone", 20), ("alone", 40), ("alone", 80)),
    *(("hubs", 20), ("hubs", 40), ("hubs", 80)),
    *(("families", 20), ("families", 40), ("families", 80)),
)
CONDITION = Condition(Spectrum.VIS, masked=False)


@dataclass(frozen=True, slots=True)
class Row:
    """How often the bound held at one FMR. `supported`: sites that had a threshold there; `ratio`: the median
    bound over the FMR that was asked for; `kept`: sites whose true FMR is at most the FMR itself."""

    kind: Kind
    people: int
    fmr: float
    runs: int
    supported: int
    held: int
    kept: int
    ratio: float

    @property
    def cells(self) -> tuple[str, ...]:
        first = (self.kind, str(self.people), f"{self.fmr:g}", f"{self.supported} of {self.runs}")
        if not self.supported:
            return (*first, "-", "-", "-")
        interval = clopper_pearson(self.held, self.supported)
        held = f"{self.held / self.supported:.1%} [{interval.low:.1%}, {interval.high:.1%}]"
        return (*first, held, f"{self.kept / self.supported:.0%}", f"{self.ratio:.1f}")


@dataclass(frozen=True, slots=True)
class Measured:
    seed: int
    rows: tuple[Row, ...]

    def table(self) -> str:
        head = (
            *("people resemble", "people", "FMR", "sites with a threshold"),
            *("the bound held", "the FMR itself held", "bound / FMR"),
        )
        return markdown_table(head, [row.cells for row in self.rows])


def directions(kind: Kind, people: int, random: np.random.Generator) -> Vectors:
    """A direction for each person, float32 [people, d]."""
    own = _unit(random.normal(size=(people, DIMENSIONS)))
    if kind == "alone":
        return own
    if kind == "families":
        families = _unit(random.normal(size=(-(-people // FAMILY), DIMENSIONS)))
        shared, share = families[np.arange(people) // FAMILY], np.full((people, 1), FAMILY_SHARE)
    else:
        shared = np.zeros((1, DIMENSIONS), np.float32)
        shared[0, 0] = 1.0
        share = random.uniform(0, MOST_HUB, size=(people, 1))
    return _unit(np.sqrt(share) * shared + np.sqrt(1 - share) * own)


def site(kind: Kind, people: int, random: np.random.Generator) -> Comparison:
    """A site's references and probes."""
    who = directions(kind, people, random)
    ids = np.arange(people, dtype=np.int64)
    references = Side(_seen(who, random), ids, tuple(f"r{i}" for i in ids))
    shown = np.repeat(ids, PROBES)
    probes = Side(_seen(who[shown], random), shown, tuple(f"p{i}" for i in range(len(shown))))
    return Comparison(probes, references)


def impostors(kind: Kind, people: int, random: np.random.Generator) -> NDArray[np.float32]:
    """The comparisons of different people in further sites of as many people, in rising order."""
    scores = []
    for _ in range(max(1, OTHERS // people)):
        one = site(kind, people, random)
        scores.append(one.scores[~one.mated])
    return np.sort(np.concatenate(scores))


def rows(kind: Kind, people: int, *, runs: int, seed: int) -> Iterator[Row]:
    """Draws `runs` sites of one kind, and judges their bounds."""
    case = CASES.index((kind, people))
    truth = impostors(kind, people, np.random.default_rng([seed, case, 0]))
    made: dict[float, list[tuple[float, float]]] = {fmr: [] for fmr in FMR_POINTS}
    for run in range(runs):
        drawn = site(kind, people, np.random.default_rng([seed, case, 1, run]))
        found = site_points(Pair(CONDITION, CONDITION), drawn, fmr_points=FMR_POINTS).found
        for point in () if found is None else found.points:
            accepted = len(truth) - int(np.searchsorted(truth, np.float32(point.threshold)))
            assert point.fmr_upper is not None
            made[point.fmr].append((accepted / len(truth), point.fmr_upper))
    for fmr, points in made.items():
        yield Row(
            kind=kind,
            people=people,
            fmr=fmr,
            runs=runs,
            supported=len(points),
            held=sum(true <= upper for true, upper in points),
            kept=sum(true <= fmr for true, _ in points),
            ratio=float(np.median([upper / fmr for _, upper in points])) if points else 0.0,
        )


def _seen(who: Vectors, random: np.random.Generator) -> Vectors:
    """Templates of people: their directions, each disturbed in its own way."""
    return _unit(who + NOISE * _unit(random.normal(size=who.shape)))


def _unit(rows: NDArray[np.floating]) -> Vectors:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def main() -> None:
    """Simulates, and prints the table."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--runs", type=int, default=400, help="sites of each kind and size")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file with the figures")
    given = parser.parse_args()
    found: list[Row] = []
    for kind, people in track(CASES, "simulating", console=Console(stderr=True), transient=True):
        found += rows(kind, people, runs=given.runs, seed=given.seed)
    measured = Measured(given.seed, tuple(found))
    print(measured.table())
    write_json(given.out, f"python -m benchmarks.bounds --runs {given.runs} --seed {given.seed}", measured)


if __name__ == "__main__":
    main()
