"""`python -m training reproduce table1|table2|fig4|queue-sizes`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console

from faces.files import write_whole
from faces.rates.resampling import BOOTSTRAPS
from training.cli.errors import exit_on_user_error, print_once
from training.data.pairs import paired_subjects
from training.data.records import DataSetError
from training.engine.devices import chosen_device
from training.engine.progress import Reporter
from training.finetune.recipe import load_recipe
from training.research.reproduce.datasets import FoldData, load_folds, load_standin
from training.research.reproduce.figure import bars_png, queue_png
from training.research.reproduce.printed import printed_lines
from training.research.reproduce.published import ALL_FOLDS, FIG4, On, Plan, Table, plan_of
from training.research.reproduce.run import Result, Settings, check_sets, run_arm, start_backbone
from training.research.reproduce.tables import SYNTHETIC, lines_of, write_table


def reproduce(
    table: Annotated[str, typer.Argument(help="table1, table2, fig4, or the ablation queue-sizes")],
    out: Annotated[Path, typer.Argument(help="folder of the arms and tables; finished arms are left alone")],
    casia: Annotated[Path | None, typer.Option(help="CASIA NIR-VIS 2.0, prepared with --masks nir")] = None,
    oulu: Annotated[Path | None, typer.Option(help="Oulu-CASIA, prepared alike")] = None,
    buaa: Annotated[Path | None, typer.Option(help="BUAA-VisNir, prepared alike")] = None,
    start: Annotated[Path | None, typer.Option(help="the pre-trained trunk: checkpoint or bundle")] = None,
    casia_root: Annotated[Path | None, typer.Option(help="the data set's folder, for its folds")] = None,
    fold: Annotated[
        list[int] | None, typer.Option(min=1, help="folds; the paper's are 1, and 1 to 10 in fig4")
    ] = None,
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
        name = _known(table)
        datasets, begin = _chosen(
            name, casia, {On.OULU: oulu, On.BUAA: buaa}, start, casia_root, fold, standin, trunk
        )
        check_sets(datasets, start_backbone(begin))
        settings = Settings(
            start=begin,
            device=chosen_device(device),
            iterations=iterations,
            batch=batch,
            changes=tuple(set_ or ()),
            seed=seed,
            bootstraps=bootstraps,
        )
        plan = _plan(name, datasets, batch, arm)
        results = _run(plan, datasets, settings, out, errors)
        lines = lines_of(plan, results, _notes(plan, datasets))
        names = list(write_table(out, plan, results, lines))
        if plan.table in ("fig4", "queue-sizes"):
            names.append(_figure(plan, results, out))
    mark = f"{SYNTHETIC}: " if datasets[0].synthetic else ""
    lines.append(f"{mark}written: {', '.join(names)}")
    print_once(Console(), "\n".join(lines))


def _known(table: str) -> Table:
    known: dict[str, Table] = {name: name for name in get_args(Table)}
    if table not in known:
        raise DataSetError(f"{table!r} is none of {', '.join(known)}")
    return known[table]


def _chosen(
    table: Table,
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
    wanted = FIG4.folds if table == FIG4.table else (1,)
    return load_folds(casia, given, root=root, folds=folds or (), wanted=wanted), start


def _plan(table: Table, datasets: Sequence[FoldData], batch: int | None, arms: Sequence[str] | None) -> Plan:
    subjects = 0
    if table == "queue-sizes":
        subjects = min(len(paired_subjects(data.prepared, "train")) for data in datasets)
    plan = plan_of(table, batch=batch or load_recipe("hsst-softmax").batch, subjects=subjects)
    if not plan.arms:
        raise DataSetError(f"{subjects} training subjects do not fill one batch: choose a smaller --batch")
    if not arms:
        return plan
    names = [one.name for one in plan.arms]
    unknown = set(arms) - set(names)
    if unknown:
        raise DataSetError(f"no arm {min(unknown)!r}; there are: {'; '.join(names)}")
    return replace(plan, arms=tuple(one for one in plan.arms if one.name in arms))


def _run(
    plan: Plan, datasets: Sequence[FoldData], settings: Settings, out: Path, console: Console
) -> list[Result]:
    results = []
    jobs = [(one, data) for data in datasets for one in plan.arms]
    length = settings.iterations or load_recipe("hsst-softmax").loop.iterations
    with Reporter(console) as progress:
        for number, (one, data) in enumerate(jobs, 1):
            label = f"{number} of {len(jobs)}, {one.name}, {data.name}"

            def step(done: int, loss: float, label: str = label) -> None:
                progress.show(f"{label}: training", done, length, f"loss {loss:.3f}")

            def embedded(on: On, done: int, total: int, label: str = label) -> None:
                progress.show(f"{label}: evaluating on {on.value} test subjects", done, total)

            results.append(run_arm(one, data, settings, out, on_step=step, on_embedded=embedded))
    return results


def _notes(plan: Plan, datasets: Sequence[FoldData]) -> list[str]:
    notes = [f"trained and tried on {data.name}" for data in datasets]
    if plan.folds == ALL_FOLDS and len(datasets) != len(ALL_FOLDS):
        notes.append(f"not the paper's: {len(datasets)} of its {len(ALL_FOLDS)} folds")
    notes += [f"{one.info.name}: {one.info.synthetic}" for one in datasets[0].sets if one.info.synthetic]
    return list(dict.fromkeys(notes))


def _figure(plan: Plan, results: Sequence[Result], out: Path) -> str:
    synthetic = results[0].synthetic
    name = (f"{SYNTHETIC}-" if synthetic else "") + f"{plan.table}.png"
    folds = len({result.fold for result in results})
    over = f"mean and standard deviation of {folds} folds" if folds > 1 else "one fold"
    title = f"{'SYNTHETIC: ' if synthetic else ''}{plan.title}, {over}"
    drawn = (
        queue_png(results, title=title)
        if plan.table == "queue-sizes"
        else bars_png(printed_lines(plan, results), title=title)
    )
    write_whole(out / name, drawn)
    return name
