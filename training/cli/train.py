"""`python -m training train RECIPE SET OUT`, in one process or in those of torchrun."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.cli.errors import exit_on_user_error, print_once
from training.cli.progress import loss_bar
from training.data.assign_splits import assign_fold
from training.data.prepared import read_prepared
from training.data.registry import load_fold
from training.engine.compile import check_compiler
from training.engine.devices import processes
from training.engine.distributed import rank
from training.engine.recipe_file import recipe_names
from training.engine.run_record import RunRecord
from training.finetune.recipe import Recipe, differences, load_recipe, shortened
from training.finetune.run import ENCODER, RunOptions, train_recipe


def train(
    recipe: Annotated[str, typer.Argument(help=f"a .toml file, or one of: {', '.join(recipe_names())}")],
    prepared_set: Annotated[Path, typer.Argument(metavar="SET", help="made by `training prepare`")],
    out: Annotated[Path, typer.Argument(help="folder of the run; a killed run goes on there")],
    start: Annotated[
        # torchrun takes --start for an abbreviation of one of its own options.
        Path | None,
        typer.Option("--start", "--start-from", help="checkpoint or bundle; none: random weights"),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; with torchrun: cpu or cuda")] = "cpu",
    dataset: Annotated[str | None, typer.Option(help="of --root, as `training prepare` calls it")] = None,
    root: Annotated[Path | None, typer.Option(help="the data set's folder, for its protocol")] = None,
    fold: Annotated[int, typer.Option(min=1, help="of that protocol")] = 1,
    teacher: Annotated[Path | None, typer.Option(help="bundle whose templates are distilled")] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="another length than the recipe's")] = None,
    compiled: Annotated[bool, typer.Option(help="compile the networks (needs a C++ compiler)")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value over the recipe")] = None,
) -> None:
    """Train one recipe on a prepared set: on the split in its rows, or on a fold of a data set's protocol."""
    errors = Console(stderr=True)
    with exit_on_user_error():
        if compiled:
            check_compiler()
        asked = load_recipe(recipe, set_ or ())
        chosen = asked if iterations is None else shortened(asked, iterations)
        prepared = read_prepared(prepared_set)
        if root is not None or dataset is not None:
            prepared = assign_fold(prepared, load_fold(dataset, root, fold))
        with processes(device) as where:
            options = RunOptions(out=out, start=start, teacher=teacher, compiled=compiled, device=where)
            with loss_bar(errors, "training", total=chosen.loop.iterations) as step:
                record = train_recipe(chosen, prepared, options, on_step=step)
            if not rank():
                _report(record, asked, start)


def _report(record: RunRecord, asked: Recipe, start: Path | None) -> None:
    lines = [] if start is not None else ["began at random weights"]
    exit_on_user_error = differences(record.recipe, asked.facts())
    lines += [f"other than the recipe: {text}" for text in exit_on_user_error]
    lines += [f"SYNTHETIC: {record.synthetic}"] if record.synthetic else []
    lines.append(
        f"{record.iterations} iterations, {record.images_seen} images, {record.seconds:.0f} s"
        f" on {record.device} x {record.processes}: {ENCODER}"
    )
    print_once(Console(), "\n".join(lines))
