"""`python -m training smoke`: every part of a training once, in three minutes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from faces.bundle import read
from training.cli.errors import exit_on_user_error
from training.data.prepared import PreparedSet
from training.networks.onnx_runner import BundleRunner
from training.research.smoke import Size, rendered_sets, run_smoke
from training.synthesis.assets import BUILT_IN
from training.synthesis.rendered.sample_set import sample_sets

FACEKIT = Path("../shared/data/ict_facekit")


def smoke(
    facekit: Annotated[Path | None, typer.Option(help="the ICT FaceKit folder")] = None,
    out: Annotated[Path | None, typer.Option(help="keep what is made here")] = None,
    bundle: Annotated[Path, typer.Option(help="without FaceKit: whose detector is used")] = BUILT_IN,
    workers: Annotated[int, typer.Option(help="processes that render", min=1)] = 2,
) -> None:
    """Render a tiny set, train on it, evaluate, print a table: about three minutes on two cores.

    Without ICT FaceKit the few rendered samples of the repository take the set's place.
    """
    console = Console()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as scratch, Progress(console=console, transient=True) as progress:
        bars: dict[str, Any] = {}

        def step(name: str, done: int, total: int) -> None:
            if name not in bars:
                bars[name] = progress.add_task(f"training {name}", total=total)
            progress.update(bars[name], completed=done)

        place = out or Path(scratch)
        with exit_on_user_error():
            sets = _sets(facekit, bundle, place, workers=workers, console=console)
        results = run_smoke(*sets, place, on_step=step)
    conditions = [one.condition for one in results[0].found]
    table = Table(title="SYNTHETIC: rendered subjects, to show that every part runs")
    for column in ("network", *(f"{c} rank-1 %" for c in conditions), "loss at the end", "seconds"):
        table.add_column(column)
    for result in results:
        rates = [f"{100 * one.counts.rate:.1f}" for one in result.found]
        table.add_row(result.arm, *rates, f"{result.loss:.3f}", f"{result.seconds:.0f}")
    console.print(table)


def _sets(
    facekit: Path | None, bundle: Path, out: Path, *, workers: int, console: Console
) -> tuple[PreparedSet, PreparedSet]:
    """Raises FaceKitError if a folder was named that holds none, BundleError, DataSetError."""
    if facekit is not None or FACEKIT.is_dir():
        return rendered_sets(facekit or FACEKIT, out, size=Size(), workers=workers)
    console.print(
        "No ICT FaceKit at hand (MIT licence; give its folder with --facekit to render new subjects):"
        " the repository's rendered samples take their place."
    )
    return sample_sets(out, BundleRunner(read(bundle)))
