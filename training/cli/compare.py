"""`python -m training compare PLAN SET OUT`: trains the arms of a plan and writes its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from faces.files import write_whole
from faces.rates.resampling import BOOTSTRAPS
from training.cli.errors import exit_on_user_error, print_once
from training.data.records import DataSetError
from training.engine.compile import check_compiler
from training.engine.devices import chosen_device
from training.engine.progress import Reporter
from training.research.compare.figure import bars_png, curves_png
from training.research.compare.grid import at_best_rate, run_plan
from training.research.compare.plan import Plan, load_plan, plan_names
from training.research.compare.printed import printed_lines
from training.research.compare.result import Result, results_in
from training.research.compare.run import Settings, check
from training.research.compare.sets import SetPaths, Sets, open_sets
from training.research.compare.tables import SYNTHETIC, lines_of, write_table


def compare(
    plan: Annotated[str, typer.Argument(help=f"a .toml file, or one of: {', '.join(plan_names())}")],
    prepared: Annotated[Path, typer.Argument(metavar="SET", help="the prepared set to train on")],
    out: Annotated[Path, typer.Argument(help="folder of runs and tables; finished runs are left alone")],
    start: Annotated[Path | None, typer.Option(help="the trunk: checkpoint or bundle")] = None,
    test: Annotated[
        list[str] | None, typer.Option(help="NAME=SET: another set whose test split is evaluated")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="the data set's folder, for its folds")] = None,
    fold: Annotated[list[int] | None, typer.Option(min=1, help="folds in place of the plan's")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="training seeds in place of the plan's")] = None,
    lr: Annotated[list[float] | None, typer.Option(help="learning rates in place of the plan's")] = None,
    arm: Annotated[list[str] | None, typer.Option(help="only these arms")] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="another length; it is said")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="subjects of a step; it is said")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value over every recipe")] = None,
    teacher: Annotated[Path | None, typer.Option(help="bundle, for arms with distillation")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N")] = "cpu",
    workers: Annotated[int, typer.Option(min=1, help="runs at a time, one thread each")] = 1,
    compiled: Annotated[bool, typer.Option(help="compile the networks (needs a C++ compiler)")] = False,
    bootstraps: Annotated[int, typer.Option(min=2, help="draws of subjects for VR")] = BOOTSTRAPS,
    only_table: Annotated[
        bool, typer.Option("--only-table", help="run nothing: print the table of what OUT holds")
    ] = False,
) -> None:
    """Train and evaluate every arm of a plan, and write its table, ours beside the paper's figures.

    Plans are the paper's Table I, Table II and Fig. 4, an ablation of the queue, and the stand-in.
    """
    errors = Console(stderr=True)
    with exit_on_user_error():
        chosen = _chosen(load_plan(plan), arm)
        notes: list[str] = []
        if only_table:
            names = {one.name for one in chosen.arms}
            results = at_best_rate([one for one in results_in(out) if one.arm in names])
            if not results:
                raise DataSetError(f"{out.name} holds no result of an arm of this plan")
        else:
            if compiled:
                check_compiler()
            if start is None:
                raise DataSetError("give --start, the trunk to begin with")
            settings = Settings(
                sets=SetPaths(
                    own=prepared,
                    data=chosen.file.data,
                    root=root,
                    folds=tuple(fold or chosen.file.folds),
                    tests=_tests(chosen, test or ()),
                ),
                start=start,
                out=out,
                device=str(chosen_device(device)),
                teacher=teacher,
                iterations=iterations,
                batch=batch,
                changes=tuple(set_ or ()),
                rates=tuple(lr or chosen.file.rates),
                bootstraps=bootstraps,
                compiled=compiled,
            )
            check(chosen, settings)
            with Reporter(errors) as progress:
                results = run_plan(
                    chosen, settings, seeds=seed or chosen.file.seeds, workers=workers, progress=progress
                )
            notes = _notes(chosen, open_sets(settings.sets))
        lines = lines_of(chosen, results, notes)
        written = list(write_table(out, chosen, results, lines))
        if chosen.file.figure != "none":
            written.append(_figure(chosen, results, out))
    mark = f"{SYNTHETIC}: " if results[0].synthetic else ""
    print_once(Console(), "\n".join([*lines, f"{mark}written: {', '.join(written)}"]))


def _chosen(plan: Plan, arms: Sequence[str] | None) -> Plan:
    """The plan with some of its arms. Raises DataSetError for an unknown one."""
    if not arms:
        return plan
    names = [one.name for one in plan.arms]
    unknown = set(arms) - set(names)
    if unknown:
        raise DataSetError(f"no arm {min(unknown)!r}; there are: {'; '.join(names)}")
    return replace(plan, arms=tuple(one for one in plan.arms if one.name in arms))


def _tests(plan: Plan, given: Sequence[str]) -> tuple[tuple[str, Path], ...]:
    """Name and path of other test sets. Raises DataSetError for one without a name."""
    found = []
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not name or name in ("own", "validation"):
            known = ", ".join(one for one in plan.names if one != "own")
            raise DataSetError(f"--test {text!r}: expected NAME=SET" + (f", as {known}" if known else ""))
        found.append((name, Path(path)))
    return tuple(found)


def _notes(plan: Plan, sets: Sets) -> list[str]:
    """What was trained and tried on, and what of it is not real."""
    notes = [f"trained and tried on {fold.name}" for fold in sets.folds]
    if len(sets.folds) != len(plan.file.folds):
        notes.append(f"not the plan's: {len(sets.folds)} of its {len(plan.file.folds)} folds")
    notes += [f"{one.info.name}: {one.info.synthetic}" for one in sets if one.info.synthetic]
    return list(dict.fromkeys(notes))


def _figure(plan: Plan, results: Sequence[Result], out: Path) -> str:
    synthetic = results[0].synthetic
    name = (f"{SYNTHETIC}-" if synthetic else "") + f"{plan.stem}.png"
    folds = len({result.fold for result in results})
    over = f"mean and standard deviation of {folds} folds" if folds > 1 else "one fold"
    title = f"{'SYNTHETIC: ' if synthetic else ''}{plan.file.title}, {over}"
    drawn = (
        bars_png(printed_lines(plan, results), title=title)
        if plan.file.figure == "bars"
        else curves_png(plan, results, title=title)
    )
    write_whole(out / name, drawn)
    return name
