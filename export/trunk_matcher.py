"""An open trunk, adapted to masked and near-infrared probes, as a bundle of two encoders.

    halflight models build matcher --trunk BUNDLE --set CACHE --out DIR
    python -m export.trunk_matcher --trunk BUNDLE --set CACHE --out DIR --work WORK

BUNDLE is any bundle with one encoder (`halflight models import`), CACHE what `python -m training matcher
cache` made. References and clear visible probes keep passing through the trunk; masked and near-infrared
probes pass through the network that was trained further from it into the same space (docs/matcher.md).
Killed at any place, the same command goes on.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cv2
import torch
import typer
from rich.console import Console

from export.build import Request, export_bundle
from export.card import About
from export.command import report
from export.graph import ExportError
from export.operating_points import FMR_POINTS, Unsupported
from export.place import check_free
from export.prepared_sets import check_support
from faces.bundle import BundleError, Manifest, read
from faces.routing import is_single
from training.cli.errors import exit_on_user_error
from training.data.prepared import read_prepared
from training.data.records import DataSetError
from training.engine.compile import check_compiler
from training.engine.recipe_file import read_recipe
from training.matcher.recipe import FineTuneRecipe
from training.matcher.run import ENCODER, FineTuning
from training.matcher.store import Store
from training.matcher.teacher import teach
from training.networks.checkpoint import save_encoder
from training.networks.onnx_import import import_bundle

NAME, WHOLE, ADAPTER = "matcher", "matcher-trunk", "matcher-adapter"
TRUNK = "trunk.pt"


def about_trunk(manifest: Manifest, *, adapter: bool) -> About:
    """What the card says about a network that was trained further from a bundle's."""
    licence = manifest.licences.get(manifest.encoder.reference.path, "not stated by the trunk's bundle")
    how = "by low-rank updates and its last matrix" if adapter else "in all its layers"
    return About(
        summary=f"{manifest.name}, adapted to masked and near-infrared probes",
        licence=f"as the trunk's: {licence}; the photos it learnt from may have terms of their own",
        method=f"{manifest.name} embeds references and clear visible probes; the other network was trained"
        f" further from it, {how}, towards its templates (docs/matcher.md)",
    )


def train(recipe: FineTuneRecipe, trunk: Path, cache: Path, work: Path, *, compiled: bool) -> bool:
    """Trains in `work/run` and writes the trunk's own checkpoint to `work`; false if SIGTERM ended it early.

    Raises DataSetError, Diverged.
    """
    store = Store(cache)
    net, config = import_bundle(trunk)
    save_encoder(work / TRUNK, net, config)
    teacher = teach(store, net, work / "teacher", bf16=recipe.bf16)
    run = FineTuning(store, teacher, net, config, recipe, work / "run")
    console = Console(stderr=True)
    console.print("going on" if run.resume() else "beginning", f"at iteration {run.iteration}")
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    try:
        run.run(compiled=compiled, stop=lambda: bool(asked))
    finally:
        signal.signal(signal.SIGTERM, before)
    return not asked


def main(
    trunk: Annotated[Path, typer.Option(help="bundle with one encoder")],
    cache: Annotated[Path, typer.Option("--set", help="what `training matcher cache` made")],
    out: Annotated[Path, typer.Option(help="directory of the bundle")],
    work: Annotated[Path, typer.Option(help="folder of the run, to go on in")],
    adapter: Annotated[bool, typer.Option("--adapter", help="learn low-rank updates alone")] = False,
    calibration: Annotated[
        list[Path] | None, typer.Option(help="prepared set for thresholds; repeat for more")
    ] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="instead of the recipe's")] = None,
    fmr: Annotated[list[float] | None, typer.Option(help="points to calibrate; repeat for more")] = None,
    base: Annotated[
        Path | None, typer.Option(help="bundle that gives the detector, else the trunk's")
    ] = None,
    name: Annotated[str, typer.Option(help="of the bundle")] = NAME,
    compiled: Annotated[bool, typer.Option(help="compile the network (needs a C++ compiler)")] = False,
    set_: Annotated[list[str] | None, typer.Option("--recipe", help="key=value over the recipe")] = None,
) -> None:
    """Train, export and, with a set, calibrate."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    targets = tuple(fmr or FMR_POINTS)
    with exit_on_user_error(ExportError, Unsupported, BundleError, OSError):
        recipe = _recipe(set_ or (), adapter=adapter, iterations=iterations)
        check_free(out, replace=False)
        if compiled:
            check_compiler()
        manifest = read(trunk).manifest
        if not is_single(manifest.encoder):
            raise DataSetError(f"{trunk.name} has two encoders: a trunk has one")
        sets = [read_prepared(path) for path in calibration or ()]
        if sets:
            # Before the training, not after it.
            check_support(sets, ["validation"], targets=targets)
        work.mkdir(parents=True, exist_ok=True)
        if not train(recipe, trunk, cache, work, compiled=compiled):
            raise ExportError("stopped: the same command goes on where it was")
        done = export_bundle(
            Request(
                checkpoint=work / "run" / ENCODER,
                reference=work / TRUNK,
                out=out,
                base=base or trunk,
                name=name,
                variant="fp16-weights",
                mirrored=True,
                sets=sets,
                targets=targets,
                about=about_trunk(manifest, adapter=adapter),
                command=f"halflight models build {NAME}" + (" --adapter" if adapter else ""),
            ),
            report_progress=lambda text: Console(stderr=True).print(text, markup=False, highlight=False),
            track=lambda _: lambda _: None,
        )
    report(done, Console())


def _recipe(given: Sequence[str], *, adapter: bool, iterations: int | None) -> FineTuneRecipe:
    recipe = read_recipe(FineTuneRecipe, ADAPTER if adapter else WHOLE, given)
    return recipe if iterations is None else recipe.model_copy(update={"iterations": iterations})


if __name__ == "__main__":
    typer.run(main)
