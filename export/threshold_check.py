"""What the thresholds of a bundle do to people whom they were not made from.

    python -m export.threshold_check BUNDLE SET --split test --fmr 1e-3

Compares everybody of a prepared set with everybody else, for each pair of conditions that the set has, and
says which share passes the bundle's threshold of a stated FMR, with an interval over people. The test split
may be checked: nothing is chosen by it. Where the stated FMR lies below the interval, more strangers of this
population pass than the bundle says; `export.recalibrate` sets thresholds by such a population.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from export.kept_templates import SetTemplates
from export.prepared_sets import Plan, impostors_of, mated_of, plans_of
from faces.bundle import Bundle, BundleError, open_cohort, read, verify
from faces.calibration import UnsupportedFmr
from faces.files import write_whole
from faces.rates.intervals import Interval, clopper_pearson
from faces.rates.resampling import percentiles, weights
from faces.rates.tail import Ids, Impostors
from training.data.prepared import PreparedSet, Split, read_prepared
from training.data.records import DataSetError
from training.detector.report import markdown_table
from training.networks.onnx_encoders import BundleEncoder


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCheck:
    """One pair of conditions at one FMR. `upper`: the bound that the bundle states; `observed`: of this set;
    `fnmr`: of its mated comparisons, None where there are none."""

    pair: str
    people: int
    comparisons: int
    fmr: float
    threshold: float
    method: str
    upper: float
    observed: Interval
    fnmr: float | None

    @property
    def holds(self) -> bool:
        """Whether the stated FMR is not below the interval of the observed one."""
        return self.observed.low <= self.fmr


@dataclass(frozen=True, slots=True, eq=False)
class Passed:
    """Impostor comparisons at or above a threshold: the person of each probe and of each reference."""

    probe: Ids
    reference: Ids


def passed(impostors: Impostors, threshold: float) -> Passed:
    """Every impostor comparison at or above a threshold."""
    found = []
    for start, scores in impostors.score_blocks():
        # In float32 the threshold would be rounded.
        row, column = np.nonzero(scores.astype(np.float64) >= threshold)
        found.append(np.stack([impostors.own[start + row], column]))
    probe, reference = np.concatenate(found, axis=1)
    return Passed(probe, reference)


def rate_of(parts: Sequence[tuple[Impostors, Passed]]) -> Interval:
    """The share of impostor comparisons that pass, over parts with people of their own each; the bootstrap
    draws people.

    A comparison counts as often as both its people were drawn, and nobody is compared with himself. Where no
    comparison passes, no draw has one either: the upper end is then that of one trial a person.
    """
    if not any(len(one.probe) for _, one in parts):
        return clopper_pearson(0, sum(impostors.people for impostors, _ in parts))
    sizes = [len(impostors.references) for impostors, _ in parts]
    ends = np.cumsum(sizes)
    people = int(ends[-1])
    probes = [np.bincount(impostors.own, minlength=n) for (impostors, _), n in zip(parts, sizes, strict=True)]
    rates = []
    for everybody in [np.ones(people, np.int64), *weights(people)]:
        accepted = made = 0
        for drawn, own, (_, one) in zip(np.split(everybody, ends[:-1]), probes, parts, strict=True):
            made += int(drawn @ own) * int(drawn.sum()) - int(drawn**2 @ own)
            accepted += int(drawn[one.probe] @ drawn[one.reference])
        rates.append(accepted / made if made else np.nan)
    return percentiles(rates[0], np.array(rates[1:]))


def fmr_interval(impostors: Impostors, threshold: float) -> Interval:
    """The share of impostor comparisons at or above a threshold, with an interval over people."""
    return rate_of([(impostors, passed(impostors, threshold))])


def embedded(bundle: Bundle, prepared: PreparedSet, plans: Iterable[Plan], kept: Path | None) -> SetTemplates:
    """The templates of everything that the plans compare. `kept`: a folder that keeps them."""
    templates = SetTemplates(BundleEncoder(bundle.root), prepared, kept)
    wanted = sorted({one for plan in plans for one in plan.wanted})
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("embedding", total=len(wanted))
        templates.embed(wanted, lambda count: progress.advance(bar, count))
    return templates


def check(
    bundle: Bundle, prepared: PreparedSet, splits: Sequence[Split], *, fmr: float, kept: Path | None = None
) -> list[PairCheck]:
    """Checks every pair of conditions that both the set and the bundle's thresholds have.

    `kept`: a folder that keeps the templates. Raises DataSetError if they share none, UnsupportedFmr.
    """
    calibration = bundle.manifest.calibration
    found_plans = plans_of([prepared], splits, None if calibration is None else calibration.cohort)
    plans = {p: f[0] for p, f in found_plans.items() if calibration and calibration.has(p)}
    if calibration is None or not plans:
        raise DataSetError(
            f"{prepared.info.name} and {bundle.manifest.name} share no pair of conditions in the split"
            f" {' or '.join(splits)}: there is nothing to check"
        )
    points = {pair: calibration.at(pair, fmr) for pair in plans}
    templates, cohort = embedded(bundle, prepared, plans.values(), kept), open_cohort(bundle)
    found = []
    for pair, plan in plans.items():
        impostors, point = impostors_of(plan, templates, cohort), points[pair]
        mated = mated_of(plan, templates, cohort)
        found.append(
            PairCheck(
                pair=str(pair),
                people=impostors.people,
                comparisons=impostors.comparisons,
                fmr=point.fmr,
                threshold=point.threshold,
                method=point.method,
                upper=point.fmr_upper,
                observed=fmr_interval(impostors, point.threshold),
                fnmr=mated.fnmr(point.threshold),
            )
        )
    return found


def table(checks: Sequence[PairCheck]) -> str:
    head = ("reference/probe", "people", "comparisons", "stated FMR", "threshold", "observed FMR", "FNMR", "")
    rows = [
        (
            one.pair,
            str(one.people),
            str(one.comparisons),
            f"{one.fmr:g} (at most {one.upper:g}, {one.method})",
            f"{one.threshold:.3f}",
            f"{one.observed.value:.2g} [{one.observed.low:.2g}, {one.observed.high:.2g}]",
            "-" if one.fnmr is None else f"{one.fnmr:.3f}",
            "holds" if one.holds else "exceeded",
        )
        for one in checks
    ]
    return markdown_table(head, rows)


def threshold_check(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="the bundle's directory")],
    of_set: Annotated[Path, typer.Argument(metavar="SET", help="prepared set")],
    split: Annotated[str, typer.Option(help="train, validation, test or none")] = "test",
    fmr: Annotated[float, typer.Option(help="the FMR of the thresholds that are checked")] = 1e-3,
    kept: Annotated[Path | None, typer.Option(help="folder that keeps the templates")] = None,
    out: Annotated[Path | None, typer.Option(help="a file for the figures (.json)")] = None,
) -> None:
    """Say what BUNDLE's thresholds do to the people of SET."""
    chosen: dict[str, Split] = {"train": "train", "validation": "validation", "test": "test", "none": "none"}
    if split not in chosen:
        raise typer.BadParameter(f"{split} is none of {', '.join(chosen)}", param_hint="--split")
    try:
        opened = read(bundle)
        verify(opened)
        found = check(opened, read_prepared(of_set), [chosen[split]], fmr=fmr, kept=kept)
    except (BundleError, DataSetError, UnsupportedFmr) as error:
        Console(stderr=True).print(f"[red]{escape(str(error))}[/red]", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from error
    if out is not None:
        facts = [{**asdict(one), "holds": one.holds} for one in found]
        write_whole(out, (json.dumps(facts, indent=1) + "\n").encode())
    print(table(found), end="")


if __name__ == "__main__":
    typer.run(threshold_check)
