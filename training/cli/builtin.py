"""`python -m training builtin ...`: the built-in embedder, step by step."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.cli.errors import exit_on_user_error
from training.cli.progress import loss_bar
from training.data.photo_sources import Terms, extra_shots, lfw_shots
from training.data.prepared import read_prepared
from training.distil.recipe import DistilRecipe
from training.distil.run import RunOptions, distil
from training.engine.compile import check_compiler
from training.engine.recipe_file import read_recipe
from training.views.photos import MaskedCopies, build_photos
from training.views.set_builder import ViewAssets

BUNDLE, RECIPE = Path(".halflight/bundles/reference"), "builtin-distil"

builtin = typer.Typer(help="Make the built-in embedder: photos, distil.", no_args_is_help=True)


@builtin.command()
def photos(
    out: Annotated[Path, typer.Argument(help="the prepared set to be made")],
    lfw: Annotated[Path, typer.Option(help="the LFW archive; its training identities are taken")],
    extra: Annotated[Path | None, typer.Option(help="archive of further faces, with a list")] = None,
    terms: Annotated[Terms, typer.Option(help="open: of the further faces only CC0 and CC-BY")] = Terms.ALL,
    bundle: Annotated[Path, typer.Option(help="the bundle whose detector finds the faces")] = BUNDLE,
    models: Annotated[Path | None, typer.Option(help="folder of the face mesh's files")] = None,
    templates: Annotated[Path | None, typer.Option(help="folder of mask photos")] = None,
    workers: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Every face photo as it is, masked, in pseudo-NIR, and masked in pseudo-NIR."""
    console = Console(stderr=True)
    shots = lfw_shots(lfw)
    if extra is not None:
        shots = chain(shots, extra_shots(extra, terms=terms))
    with exit_on_user_error():
        assets = ViewAssets(bundle=bundle, models=models, templates=templates)
        made = build_photos(shots, out, assets, copies=MaskedCopies(), workers=workers)
    console.print(f"{len(made.rows)} crops, {len(made.refused)} photos refused")


@builtin.command("distil")
def distil_command(
    photos_set: Annotated[Path, typer.Argument(metavar="PHOTOS", help="what `builtin photos` made")],
    out: Annotated[Path, typer.Argument(help="folder of the run; a killed run goes on there")],
    recipe: Annotated[str, typer.Option(help="a .toml file, or a name of training/recipes")] = RECIPE,
    bundle: Annotated[Path, typer.Option(help="the bundle whose embedder teaches")] = BUNDLE,
    start: Annotated[Path | None, typer.Option(help="checkpoint to begin with; none: random weights")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N")] = "cpu",
    compiled: Annotated[bool, typer.Option(help="compile the networks (needs a C++ compiler)")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value over the recipe")] = None,
) -> None:
    """Distil the reference embedder, by templates and by maps, into the built-in one."""
    console = Console(stderr=True)
    with exit_on_user_error():
        if compiled:
            check_compiler()
        chosen = read_recipe(DistilRecipe, recipe, set_ or ())
        options = RunOptions(out=out, teacher=bundle, start=start, compiled=compiled, device=device)
        prepared = read_prepared(photos_set)
        with loss_bar(console, "distilling", total=chosen.loop.iterations) as step:
            made = distil(chosen, prepared, options, on_step=step)
    console.print(f"the built-in embedder's checkpoint: {made.name}")
