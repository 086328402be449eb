"""`python -m training reproduce table1|table2|fig4`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.progress import Progress

from faces.files import write_whole
from faces.rates.resampling import BOOTSTRAPS
from training.cli.errors import exit_on_user_error, print_once
from training.cli.progress import bar_columns
from training.data.pairs import paired_subjects
from training.data.records import DataSetError
from training.engine.devices import chosen_device
from training.finetune.recipe import load_recipe
from training.research.reproduce.datasets import load_folds, load_standin
from training.research.reproduce.figure import queue_png
from training.research.reproduce.published import On, Plan, Table, plan_of
from training.research.reproduce.run import FoldData, Result, Settings, run_arm
from training.research.reproduce.tables import SYNTHETIC, lines_of, write_table

UNREAD = "the paper's Fig. 4 could not be read; that it shows this, and what it shows, is not known here"


def reproduce(
    table: Annotated[str, typer.Argument(help="table1, table2 or fig4")],
    out: Annotated[Path, typer.Argument(help="folder of the arms and tables; finished arms are left alone")],
    casia: Annotated[Path | None, typer.Option(help="CASIA NIR-VIS 2.0, prepared with --masks nir")] = None,
    oulu: Annotated[Path | None, typer.Option(help="Oulu-CASIA, prepared alike")] = None,
    buaa: Annotated[Path | None, typer.Option(help="BUAA-VisNir, prepared alike")] = None,
    start: Annotated[Path | None, typer.Option(help="checkpoint of the pre-trained backbone")] = None,
    casia_root: Annotated[Path | None, typer.Option(help="the data set's folder, for its folds")] = None,
    fold: Annotated[list[int] | None, typer.Option(min=1, help="folds; the paper's is 1")] = None,
    standin: Annotated[Path | None, typer.Option(help="instead: the stand-in's set (SYNTHETIC)")] = None,
    trunk: Annotated[Path | None, typer.Option(help="the stand-in's checkpoint to begin with")] = None,
    arm: Annotated[list[str] | None, typer.Option(help="only these arms")] = None,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="shorter than the paper's; it is said")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="subjects of a step; the paper's are 64")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value over every recipe")] = None,
    seed: Annotated[int, typer.Option(help="of the training")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N")] = "cpu",
    bootstraps: Annotated[int, typer.Option(min=2, help="draws of subjects")] = BOOTSTRAPS,
) -> None:
    """Train and try every arm of a table of Du et al. 2021, and print ours beside the paper's figures."""
    errors = Console(stderr=True)
    with exit_on_user_error():
        datasets, begin = _chosen(
            casia, {On.OULU: oulu, On.BUAA: buaa}, start, casia_root, fold, standin, trunk
        )
        settings = Settings(
            start=begin,
            device=chosen_device(device),
            iterations=iterations,
            batch=batch,
            changes=tuple(set_ or ()),
            seed=seed,
            bootstraps=bootstraps,
        )
        plan = _plan(table, datasets, batch, arm)
        results = _run(plan, datasets, settings, out, errors)
        lines = lines_of(plan, results, _notes(plan, datasets))
        names = list(write_table(out, plan, results, lines))
        if plan.table == "fig4":
            names.append(_figure(plan, results, out))
    mark = f"{SYNTHETIC}: " if datasets[0].synthetic else ""
    lines.append(f"{mark}written: {', '.join(names)}")
    print_once(Console(), "\n".join(lines))


def _chosen(
    casia: Path | None,
    others: dict[On, Path | None],
    start: Path | None,
    root: Path | None,
    folds: list[int] | None,
    standin: Path | None,
    trunk: Path | None,
) -> tuple[tuple[FoldData, ...], Path]:
    """The sets to train on and the initial checkpoint. Raises DataSetError."""
    given = {on: path for on, path in others.items() if path is not None}
    if standin is not None:
        if casia or given or start or root or folds:
            raise DataSetError("--standin goes with --trunk alone: real data and it never share a table")
        if trunk is None:
            raise DataSetError("--standin needs --trunk, the checkpoint to begin with")
        return (load_standin(standin),), trunk
    if casia is None:
        raise DataSetError("give --casia SET --start CHECKPOINT, or --standin SET --trunk FILE")
    if start is None or trunk is not None:
        raise DataSetError("--casia needs --start, the pre-trained backbone to begin with, and no --trunk")
    return load_folds(casia, given, root=root, folds=folds or ()), start


def _plan(table: str, datasets: Sequence[FoldData], batch: int | None, arms: Sequence[str] | None) -> Plan:
    known: dict[str, Table] = {name: name for name in get_args(Table)}
    if table not in known:
        raise DataSetError(f"{table!r} is none of {', '.join(known)}")
    subjects = min(len(paired_subjects(data.prepared, "train")) for data in datasets)
    plan = plan_of(known[table], batch=batch or load_recipe("hsst-softmax").batch, subjects=subjects)
    if not plan.arms:
        raise DataSetError(f"{subjects} training subjects do not fill one batch: choose a smaller --batch")
    if not arms:
        return plan
    names = [one.name for one in plan.arms]
    unknown = set(arms) - set(names)
    if unknown:
        raise DataSetError(f"no arm {min(unknown)!r}; there are: {'; '.join(names)}")
    return Plan(plan.table, plan.title, tuple(one for one in plan.arms if one.name in arms))


def _run(
    plan: Plan, datasets: Sequence[FoldData], settings: Settings, out: Path, console: Console
) -> list[Result]:
    results = []
    jobs = [(one, data) for one in plan.arms for data in datasets]
    with Progress(*bar_columns(), console=console) as progress:
        length = settings.iterations or load_recipe("hsst-softmax").loop.iterations
        bar = progress.add_task("iterations", total=len(jobs) * length, loss="")
        for number, (one, data) in enumerate(jobs):
            progress.update(bar, description=f"{one.name}, {data.name}", completed=number * length)

            def step(done: int, loss: float, before: int = number * length) -> None:
                progress.update(bar, completed=before + done, loss=f"loss {loss:.3f}")

            results.append(run_arm(one, data, settings, out, on_step=step))
        progress.update(bar, completed=len(jobs) * length)
    return results


def _notes(plan: Plan, datasets: Sequence[FoldData]) -> list[str]:
    notes = [UNREAD] if plan.table == "fig4" else []
    notes += [f"trained and tried on {data.name}" for data in datasets]
    sets = [data.prepared for data in datasets] + list(datasets[0].others.values())
    notes += [f"{one.info.name}: {one.info.synthetic}" for one in sets if one.info.synthetic]
    return list(dict.fromkeys(notes))


def _figure(plan: Plan, results: Sequence[Result], out: Path) -> str:
    mark = f"{SYNTHETIC}-" if results[0].synthetic else ""
    title = ("SYNTHETIC: " if results[0].synthetic else "") + plan.title
    write_whole(out / f"{mark}{plan.table}.png", queue_png(results, title=title))
    return f"{mark}{plan.table}.png"
