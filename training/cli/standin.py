"""`python -m training standin`: the benchmark's steps, each resumable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from faces.files import write_array, write_whole
from faces.types import Spectrum
from training.cli.errors import exit_on_user_error
from training.data.prepared import read_prepared
from training.engine.compile import check_compiler
from training.networks.teacher import by_row, cached_templates
from training.research.standin.arms import arms
from training.research.standin.build import Plan
from training.research.standin.build import build as build_set
from training.research.standin.grid import Grid, evaluate_on, results, run_grid, runs_at_best_rate
from training.research.standin.photos import align_photos
from training.research.standin.run import RunConfig
from training.research.standin.table import as_json, comparisons, lines, markdown, written
from training.research.standin.trunk import TrunkConfig, label_images, train_trunk
from training.views.set_builder import ViewAssets

LFW = Path("../shared/data/lfw.tar")
BUNDLE = Path(".halflight/bundles/reference")

standin = typer.Typer(help="The paper's comparison on LFW, with pseudo-NIR and synthetic masks.")
Tar = Annotated[Path, typer.Option(help="the LFW archive")]
Detector = Annotated[Path, typer.Option(help="the bundle whose detector is used")]


@standin.command()
def photos(out: Path, lfw: Tar = LFW, bundle: Detector = BUNDLE) -> None:
    """Align every LFW photo: what a trunk is pre-trained on."""
    with exit_on_user_error():
        made = align_photos(lfw, bundle, out)
    Console().print(f"{len(made.rows)} crops, {len(made.refused)} photos without a face")


@standin.command()
def build(
    out: Path,
    lfw: Tar = LFW,
    bundle: Detector = BUNDLE,
    models: Annotated[Path | None, typer.Option(help="where the face mesh lies")] = None,
    templates: Annotated[Path | None, typer.Option(help="photos of masks (masks.cfg)")] = None,
    subjects: Annotated[int, typer.Option(help="of each split; 0: all")] = 0,
    workers: int = 2,
) -> None:
    """Make the set: references, pseudo-NIR probes, masks."""
    with exit_on_user_error():
        assets = ViewAssets(bundle=bundle, models=models, templates=templates)
        made = build_set(lfw, out, assets, plan=Plan(subjects=subjects), workers=workers)
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


@standin.command()
def run(
    prepared: Path,
    start: Annotated[Path, typer.Argument(help="the trunk's checkpoint")],
    out: Path,
    arm: Annotated[list[str] | None, typer.Option(help="only these arms")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="training seeds; 0, 1, 2 if none")] = None,
    lr: Annotated[list[float] | None, typer.Option(help="learning rates to choose from")] = None,
    iterations: int = 1000,
    batch: int = 16,
    also_sets: Annotated[
        list[Path] | None, typer.Option("--also", help="another set whose test split is tried")
    ] = None,
    bundle: Annotated[Path, typer.Option(help="the bundle that distillation learns from")] = BUNDLE,
    workers: Annotated[int, typer.Option(min=1, help="runs at a time, one thread each")] = 2,
    compiled: Annotated[bool, typer.Option(help="compile the network (needs a C++ compiler)")] = False,
    bf16: Annotated[bool, typer.Option(help="compute in bfloat16")] = False,
) -> None:
    """Train and evaluate arms: at each rate for the first seed, at the best for the others. What is
    already in OUT is left alone, so a run goes on where it was."""
    found = arms(iterations)
    unknown = set(arm or ()) - set(found)
    if unknown:
        raise typer.BadParameter(f"no arm {min(unknown)!r}; there are: {', '.join(found)}")
    names = tuple(arm or found)
    distils = any((task := found[name].task) is not None and task.distil for name in names)
    with exit_on_user_error():
        if compiled:
            check_compiler()
        grid = Grid(
            prepared=prepared,
            trunk=start,
            out=out,
            base=RunConfig(iterations=iterations, batch=batch, compiled=compiled, bf16=bf16),
            names=names,
            seeds=tuple(seed or (0, 1, 2)),
            rates=tuple(lr or (3e-4, 1e-3, 3e-3)),
            teacher=_taught(prepared, bundle, out) if distils else None,
        )
        run_grid(grid, workers=workers)
    for other in also_sets or ():
        also(other, start, out)
    table(out)


def _taught(prepared: Path, bundle: Path, out: Path) -> Path:
    """The teacher's templates of the training split's VIS photos, by row of the set; other rows are 0."""
    opened, path = read_prepared(prepared), out / "teacher-by-row.npy"
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        rows = opened.select(split="train", spectrum=Spectrum.VIS, masked=False)
        write_array(path, by_row(opened, rows, cached_templates(opened, rows, bundle, out / "teacher.npy")))
    return path


@standin.command()
def also(
    prepared: Annotated[Path, typer.Argument(help="another set, with a test split")],
    start: Annotated[Path, typer.Argument(help="the trunk's checkpoint")],
    out: Annotated[Path, typer.Argument(help="what `standin run` made")],
) -> None:
    """Try every finished run on another set too: `standin table --test NAME` prints it."""
    with exit_on_user_error(), Progress() as progress:
        bar = progress.add_task("trying", total=None)

        def moved(name: str, done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total, description=name)

        evaluate_on(out, start, prepared, on_done=moved)


@standin.command()
def table(
    out: Path,
    test: Annotated[str, typer.Option(help="'test', or the name of another set that was tried")] = "test",
    mode: Annotated[str, typer.Option(help="BN mode of the plain+ that HSST is compared with")] = "",
    to: Annotated[Path | None, typer.Option(help="also as Markdown (.md) or JSON")] = None,
) -> None:
    """Print the table of all runs in OUT: the learning rate of each arm is the best on validation."""
    by_arm = runs_at_best_rate(results(out))
    chosen = {name: by_arm[name] for name in arms(1) if name in by_arm}
    if not chosen:
        raise typer.BadParameter(f"no finished run in {out.name}: `standin run` makes them")
    made = lines(chosen, test=test, against=comparisons(list(chosen), mode=mode))
    shown = Table(title="Stand-in, test subjects; pseudo-NIR and masks are SYNTHETIC")
    for column in ("arm", "lr", "seeds", "masked rank-1 %", "unmasked %", "minus plain+, masked", "unmasked"):
        shown.add_column(column)
    for line in made:
        gains = [written(gain, sign=True) for gain in line.gain]
        rates = [written(rate) for rate in line.rates]
        shown.add_row(line.arm, line.rate, str(line.seeds), *rates, *gains)
    Console().print(shown)
    if to is not None:
        write_whole(to, markdown(made).encode() if to.suffix == ".md" else as_json(made))
