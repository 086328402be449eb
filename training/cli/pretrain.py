"""`python -m training pretrain SET OUT`, in one process or in those of torchrun."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.cli.errors import exit_on_user_error, print_once
from training.cli.progress import loss_bar
from training.engine.devices import processes
from training.engine.recipe_file import read_recipe
from training.pretrain.photo_loader import PhotoLoader
from training.pretrain.photos import NONE, read_photos
from training.pretrain.recipe import PretrainRecipe
from training.pretrain.run import ENCODER, PretrainRun, RunOptions


def pretrain(
    prepared_set: Annotated[Path, typer.Argument(metavar="SET", help="made by `training prepare`")],
    out: Annotated[Path, typer.Argument(help="folder of the run; a killed run goes on there")],
    recipe: Annotated[
        str, typer.Option(help="a .toml file, or a name of training/recipes")
    ] = "pretrain-ms1m",
    start: Annotated[
        Path | None, typer.Option(help="checkpoint or bundle to begin with; none: random weights")
    ] = None,
    teacher: Annotated[Path | None, typer.Option(help="bundle whose templates are distilled")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; with torchrun: cpu or cuda")] = "cpu",
    workers: Annotated[int, typer.Option(min=1, help="threads that make batches")] = 2,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value over the recipe")] = None,
) -> None:
    """Pre-train a backbone: classify the VIS photos of a prepared set's training subjects, some masked,
    some grey, by a margin softmax."""
    console, errors = Console(), Console(stderr=True)
    with exit_on_user_error():
        chosen = read_recipe(PretrainRecipe, recipe, set_ or ())
        photos = read_photos(prepared_set, min_photos=chosen.feed.min_photos)
        with processes(device) as where:
            options = RunOptions(out=out, start=start, teacher=teacher, device=where, workers=workers)
            run = PretrainRun(chosen, photos, options)
            print_once(errors, _about(run.loader))
            total = run.recipe.loop.iterations
            done = run.training.iteration
            with loss_bar(errors, "pre-training", total=total, completed=done) as step:
                record = run.go(step)
            synthetic = f"SYNTHETIC: {record.synthetic}\n" if record.synthetic else ""
            print_once(
                console,
                f"{synthetic}{record.iterations} iterations, {record.images_seen} images,"
                f" {record.seconds:.0f} s on {record.device} x {record.processes}: {ENCODER}",
            )


def _about(loader: PhotoLoader) -> str:
    """A line on the photos and the source of their masks."""
    photos = loader.photos
    worn = int((photos.worn != NONE).sum())
    said = {
        "none": "no photo is masked",
        "rows": f"{worn} photos have a masked version",
        "drawn": "the set has no masked rows: masks are drawn over the landmarks",
    }
    return f"{len(photos)} photos of {len(photos.subjects)} subjects; {said[loader.masks]}"
