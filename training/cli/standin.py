"""`python -m training standin`: the sets and the trunk of the stand-in benchmark, each resumable.

`python -m training compare standin` runs the benchmark.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from training.cli.errors import exit_on_user_error
from training.data.prepared import read_prepared
from training.engine.compile import check_compiler
from training.research.standin.build import Plan
from training.research.standin.build import build as build_set
from training.research.standin.photos import align_photos
from training.research.standin.trunk import TrunkConfig, label_images, train_trunk
from training.synthesis.assets import BUILT_IN
from training.views.set_builder import ViewAssets

LFW = Path("../shared/data/lfw.tar")
BUNDLE = Path(".halflight/bundles/reference")

standin = typer.Typer(help="The stand-in's set and trunk, from LFW with pseudo-NIR and synthetic masks.")
Tar = Annotated[Path, typer.Option(help="the LFW archive")]
Detector = Annotated[Path, typer.Option(help="the bundle whose detector is used")]


@standin.command()
def photos(out: Path, lfw: Tar = LFW, bundle: Detector = BUILT_IN) -> None:
    """Align every LFW photo: what a trunk is pre-trained on."""
    with exit_on_user_error():
        made = align_photos(lfw, bundle, out)
    Console().print(f"{len(made.rows)} crops, {len(made.refused)} photos without a face")


@standin.command()
def build(
    out: Path,
    lfw: Tar = LFW,
    bundle: Detector = BUILT_IN,
    models: Annotated[Path | None, typer.Option(help="where the face mesh lies")] = None,
    templates: Annotated[Path | None, typer.Option(help="photos of masks (masks.cfg)")] = None,
    subjects: Annotated[int, typer.Option(help="of each split; 0: all")] = 0,
    alike: Annotated[
        bool, typer.Option("--alike", help="test people alone, by the generator and masks of training")
    ] = False,
    workers: int = 2,
) -> None:
    """Make the set: references, pseudo-NIR probes, masks."""
    with exit_on_user_error():
        assets = ViewAssets(bundle=bundle, models=models, templates=templates)
        made = build_set(lfw, out, assets, plan=Plan(subjects=subjects, alike=alike), workers=workers)
    Console().print(f"{len(made.rows)} crops, {len(made.refused)} failed")


@standin.command()
def trunk(
    photos_set: Annotated[Path, typer.Argument(help="what `standin photos` made")],
    out: Path,
    bundle: Annotated[Path, typer.Option(help="the bundle whose embedder teaches")] = BUNDLE,
    iterations: int = 7000,
    mixtures: int = 30_000,
    compiled: Annotated[bool, typer.Option(help="compile the network (needs a C++ compiler)")] = False,
    bf16: Annotated[bool, typer.Option(help="compute in bfloat16 (much faster where a CPU has AMX)")] = False,
) -> None:
    """Pre-train the trunk that every arm starts from, by distillation."""
    config = TrunkConfig(iterations=iterations, mixtures=mixtures, compiled=compiled, bf16=bf16)
    with exit_on_user_error():
        if compiled:
            check_compiler()
        labelled = label_images(read_prepared(photos_set), bundle, config, out / "lesson")
        with Progress() as progress:
            bar = progress.add_task("distilling", total=iterations)
            made = train_trunk(labelled, config, out, on_step=_mover(progress, bar))
    Console().print(f"trunk: {made.name}")


def _mover(progress: Progress, bar: TaskID) -> Callable[[int, float], None]:
    def move(done: int, _loss: float) -> None:
        progress.update(bar, completed=done)

    return move
