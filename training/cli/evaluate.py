"""`python -m training evaluate`: an encoder on a prepared set."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from faces.rates.resampling import BOOTSTRAPS
from training.cli.errors import exit_on_user_error
from training.data.prepared import PreparedSet, Split, read_prepared
from training.data.registry import load_folds
from training.engine.progress import Reporter
from training.evaluation.conditions import Asked
from training.evaluation.evaluate import Curves, Evaluation, evaluate_split
from training.evaluation.folds import FoldTable, evaluate_folds
from training.evaluation.pools import split_pool
from training.evaluation.report import FOLDS_JSON, REPORT_HTML, write_fold_report, write_report
from training.evaluation.tables import evaluation_tables, fold_table
from training.evaluation.verification import ThresholdRule
from training.networks.encoders import load_encoder


class SplitName(StrEnum):
    """The splits of a prepared set."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    NONE = "none"


class RuleName(StrEnum):
    """How a threshold is set."""

    AT_MOST = "at_most"
    NEAREST = "nearest"


_SPLITS: dict[SplitName, Split] = {
    SplitName.TRAIN: "train",
    SplitName.VALIDATION: "validation",
    SplitName.TEST: "test",
    SplitName.NONE: "none",
}
_RULES: dict[RuleName, ThresholdRule] = {RuleName.AT_MOST: "at_most", RuleName.NEAREST: "nearest"}


def evaluate(
    model: Annotated[Path, typer.Argument(help="a bundle's directory, an .onnx file or a .pt checkpoint")],
    prepared_set: Annotated[Path, typer.Argument(help="a set made by `python -m training prepare`")],
    out: Annotated[Path | None, typer.Option(help="where the report goes; without it, only tables")] = None,
    split: Annotated[SplitName, typer.Option(help="whose gallery and probes")] = SplitName.TEST,
    dataset: Annotated[
        str | None, typer.Option(help="instead of a split: the data set of --root, as `prepare` calls it")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="that data set's folder, for the folds")] = None,
    fold: Annotated[
        list[int] | None, typer.Option(min=1, help="folds of its protocol; repeat for more; none: all")
    ] = None,
    fmr: Annotated[list[float] | None, typer.Option(help="FMR points; repeat for more")] = None,
    bootstraps: Annotated[int, typer.Option(min=2, help="draws of subjects for the intervals")] = BOOTSTRAPS,
    seed: Annotated[int, typer.Option(help="of the draws")] = 0,
    rule: Annotated[
        RuleName, typer.Option(help="threshold: at most the FMR, or nearest to it")
    ] = RuleName.AT_MOST,
    threads: Annotated[int, typer.Option(min=1, help="for an ONNX network")] = 1,
) -> None:
    """Find a set's probes in its gallery: rank-1, VR at FAR, masks, open set, with intervals.

    With --dataset and --root: mean and standard deviation over the folds of its protocol.
    """
    asked = Asked(bootstraps=bootstraps, seed=seed, rule=_RULES[rule])
    if fmr:
        asked = Asked(fmr_points=tuple(fmr), bootstraps=bootstraps, seed=seed, rule=_RULES[rule])
    console = Console()
    if dataset is not None or root is not None or fold:
        with exit_on_user_error(ValueError):
            found = _run_folds(model, read_prepared(prepared_set), dataset, root, fold or (), asked, threads)
        console.print(fold_table(found, asked.fmr_points, title=f"{model.name}, {len(found.folds)} folds"))
        if out is not None:
            named = " ".join(f"--fold {number}" for number in fold or ())
            command = (
                f"python -m training evaluate {model.name} {prepared_set.name} --dataset {dataset} {named}"
            )
            write_fold_report(out, found, command=command.rstrip(), date=_now())
            console.print(f"report: {out / FOLDS_JSON}", markup=False)
        return
    with exit_on_user_error(ValueError):
        evaluation, curves = _run(model, read_prepared(prepared_set), split, asked, threads)
    for part in evaluation.synthetic:
        console.print(f"SYNTHETIC: {part}", style="yellow", markup=False)
    for table in evaluation_tables(evaluation):
        console.print(table)
    if out is not None:
        command = f"python -m training evaluate {model.name} {prepared_set.name} --split {split.value}"
        write_report(out, evaluation, curves, command=command, date=_now())
        console.print(f"report: {out / REPORT_HTML}", markup=False)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _run_folds(
    model: Path,
    prepared: PreparedSet,
    dataset: str | None,
    root: Path | None,
    chosen: Sequence[int],
    asked: Asked,
    threads: int,
) -> FoldTable:
    """Evaluates on folds of a protocol. Raises DataSetError if there is no such fold."""
    folds = load_folds(dataset, root, chosen)
    with Reporter(Console(stderr=True)) as progress:
        return evaluate_folds(
            load_encoder(model, threads=threads),
            prepared,
            folds,
            asked=asked,
            on_embedded=lambda fold, done, total: progress.show(f"{fold.name}: embedding", done, total),
        )


def _run(
    model: Path, prepared: PreparedSet, split: SplitName, asked: Asked, threads: int
) -> tuple[Evaluation, Curves]:
    encoder = load_encoder(model, threads=threads)
    total = len(split_pool(prepared, _SPLITS[split]).rows)
    done = 0
    with Reporter(Console(stderr=True)) as progress:

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress.show("embedding", done, total, "comparing" if done >= total else "")

        return evaluate_split(encoder, prepared, _SPLITS[split], asked=asked, on_done=advance)
