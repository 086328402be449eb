"""Says what thresholds do within groups of people whom they were not made from.

    python -m export.group_check BUNDLE PEOPLE --fmr 1e-3

The people of a prepared set are dealt into parts, group by group. For each part, thresholds are set on all
the others as `export.recalibrate` sets them, and the people of the part are compared with one another, within
their group. So everybody is compared once by a threshold that knows nothing of him. The bundle's own
thresholds come from everybody at once, and are not asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from export.cohort_people import scale_of
from export.operating_points import LEAST_GROUP, Mated, Unsupported, groups_of, operating_points
from export.prepared_sets import impostors_of, plans_of
from export.threshold_check import Passed, embedded, passed, rate_of
from faces.bundle import BundleError, read, verify
from faces.calibration import EVERYBODY
from faces.files import write_whole
from faces.rates.intervals import Interval
from faces.rates.tail import Impostors
from faces.types import Pair
from training.data.prepared import read_prepared
from training.data.records import DataSetError
from training.detector.report import markdown_table

Places = NDArray[np.intp]
PARTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCheck:
    """One group, or everybody, for one pair of conditions. `thresholds`: of each part; `observed`: over all
    parts, with an interval over people."""

    pair: str
    group: str
    people: int
    comparisons: int
    fmr: float
    thresholds: tuple[float, ...]
    observed: Interval


def dealt(groups: Sequence[str | None], parts: int, rng: np.random.Generator) -> list[Places]:
    """Columns of people in `parts` parts, each with its share of every group."""
    part = np.zeros(len(groups), np.intp)
    for name in sorted({one or "" for one in groups}):
        mine = np.array([i for i, one in enumerate(groups) if (one or "") == name], np.intp)
        part[rng.permutation(mine)] = np.arange(len(mine)) % parts
    return [np.flatnonzero(part == i) for i in range(parts)]


def check_groups(pair: Pair, impostors: Impostors, *, fmr: float, parts: int, seed: int) -> list[GroupCheck]:
    """Everybody and each group that sets thresholds when everybody is there. Raises Unsupported if a part's
    others support no threshold of this FMR."""
    groups = groups_of(impostors)
    folds = dealt(impostors.groups, parts, np.random.default_rng(seed))
    thresholds: list[float] = []
    found: dict[str, list[tuple[Impostors, Passed]]] = {}
    for fold in folds:
        others = np.setdiff1d(np.arange(len(impostors.groups)), fold)
        made = operating_points(pair, impostors.among(others), Mated(), targets=(fmr,), groups=groups)
        (point,) = made.points
        thresholds.append(point.threshold)
        tested = impostors.among(fold)
        for name in (EVERYBODY, *(rate.group for rate in point.groups)):
            own = tested if name == EVERYBODY else tested.within(name)
            found.setdefault(name, []).append((own, passed(own, point.threshold)))
    return [
        GroupCheck(
            pair=str(pair),
            group=name,
            people=sum(own.people for own, _ in made),
            comparisons=sum(own.comparisons for own, _ in made),
            fmr=fmr,
            thresholds=tuple(thresholds),
            observed=rate_of(made),
        )
        for name, made in found.items()
        if len(made) == parts
    ]


def check_set(
    bundle: Path, people: Path, *, fmr: float, parts: int, seed: int, kept: Path | None
) -> Iterator[GroupCheck]:
    """Every pair of conditions that the set has. Raises BundleError, DataSetError, Unsupported."""
    opened, prepared = read(bundle), read_prepared(people)
    verify(opened)
    scale = scale_of(opened)
    spec, cohort = (None, None) if scale is None else (scale.spec, scale.cohort)
    plans = {pair: found[0] for pair, found in plans_of([prepared], ["validation"], spec).items()}
    if not plans:
        raise DataSetError(f"{prepared.info.name} has nobody to compare in the split validation")
    templates = embedded(opened, prepared, plans.values(), kept)
    for pair, plan in track(plans.items(), "pairs of conditions", console=Console(stderr=True)):
        yield from check_groups(pair, impostors_of(plan, templates, cohort), fmr=fmr, parts=parts, seed=seed)


def table(checks: Sequence[GroupCheck]) -> str:
    head = ("reference/probe", "group", "people", "comparisons", "thresholds", "observed FMR")
    rows = [
        (
            one.pair,
            one.group,
            str(one.people),
            str(one.comparisons),
            f"{min(one.thresholds):.3f} to {max(one.thresholds):.3f}",
            f"{one.observed.value:.2g} [{one.observed.low:.2g}, {one.observed.high:.2g}]",
        )
        for one in checks
    ]
    return markdown_table(head, rows)


def group_check(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="the bundle's directory")],
    people: Annotated[Path, typer.Argument(metavar="PEOPLE", help="set of `matcher thresholds`")],
    fmr: Annotated[float, typer.Option(help="the FMR that is checked")] = 1e-3,
    parts: Annotated[int, typer.Option(min=2, help="parts that people are dealt into")] = PARTS,
    seed: Annotated[int, typer.Option()] = 0,
    kept: Annotated[Path | None, typer.Option(help="folder that keeps the templates")] = None,
    out: Annotated[Path | None, typer.Option(help="a file for the figures (.json)")] = None,
) -> None:
    """Say what thresholds of BUNDLE's networks do within groups of people who did not set them."""
    try:
        found = list(check_set(bundle, people, fmr=fmr, parts=parts, seed=seed, kept=kept))
    except (BundleError, DataSetError, Unsupported) as error:
        Console(stderr=True).print(f"[red]{escape(str(error))}[/red]", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from error
    if out is not None:
        write_whole(out, (json.dumps([asdict(one) for one in found], indent=1) + "\n").encode())
    print(table(found), end="")
    print(f"\nGroups of fewer than {LEAST_GROUP} people are not shown.")


if __name__ == "__main__":
    typer.run(group_check)
