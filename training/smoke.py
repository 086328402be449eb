"""The whole way in three minutes: render a tiny set, pre-train, fine-tune, evaluate, print a table.

Nothing is exported and no figure means anything: so few rendered faces only show that every part runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from training.backbones.encoder import BackboneConfig, save_encoder
from training.losses import LossConfig
from training.rendered.family import tiny_family
from training.rendered.model import FaceKitError, load_model
from training.standin.arms import Arm
from training.standin.run import RunConfig, Trial, run_arm
from training.tasks.build import TaskConfig
from training.tasks.hsst import HsstConfig
from training.tasks.plain import PlainConfig

BACKBONE = BackboneConfig(side_px=48, dimension=128, width=0.25)
FACEKIT = Path("../shared/data/ict_facekit")
SOFT = LossConfig(scale=16)
BATCH = 8
PRETRAIN = RunConfig(iterations=120, batch=BATCH, lr=0.05, p_mask=0.3)
FINE_TUNE = RunConfig(iterations=60, batch=BATCH, lr=0.01)


@dataclass(frozen=True, slots=True)
class Size:
    """Subjects to learn from, and others to find."""

    train: int = 16
    test: int = 12


def run_smoke(
    facekit: Path, out: Path, *, size: Size, workers: int, on_step: Callable[[str, int, int], None]
) -> list[dict[str, Any]]:
    """Results of the pre-trained network, plain+ and HSST, in that order. Raises FaceKitError."""
    model = load_model(facekit)
    learn = tiny_family(out / "train", model, subjects=size.train, seed=1, split="train", workers=workers)
    strangers = tiny_family(out / "test", model, subjects=size.test, seed=2, split="test", workers=workers)
    tests = [Trial("test", strangers, "test")]
    start = out / "start.pt"
    torch.manual_seed(0)
    save_encoder(start, BACKBONE.build(), BACKBONE)
    plain = TaskConfig(method=PlainConfig(loss=SOFT, head_lr=10))
    plus = TaskConfig(method=PlainConfig(loss=SOFT, class_means=True, head_lr=10))
    hsst = TaskConfig(method=HsstConfig(loss=SOFT, queue=BATCH, ema=0.9))

    def go(name: str, task: TaskConfig | None, trunk: Path, config: RunConfig) -> dict[str, Any]:
        return run_arm(
            Arm(name, task),
            learn,
            trunk,
            config,
            out=out / name.replace(" ", "-"),
            tests=tests,
            on_step=lambda done, _: on_step(name, done, config.iterations),
        )

    first = go("pre-trained", plain, start, PRETRAIN)
    trunk = out / "pre-trained" / "encoder.pt"
    return [first, go("plain+", plus, trunk, FINE_TUNE), go("HSST", hsst, trunk, FINE_TUNE)]


def smoke(
    facekit: Annotated[Path, typer.Option(help="the ICT FaceKit folder")] = Path(
        "../shared/data/ict_facekit"
    ),
    out: Annotated[Path | None, typer.Option(help="keep what is made here")] = None,
    workers: Annotated[int, typer.Option(help="processes that render", min=1)] = 2,
) -> None:
    """Render a tiny set, train on it, evaluate, print a table: about three minutes on two cores."""
    console = Console()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as scratch, Progress(console=console, transient=True) as progress:
        bars: dict[str, Any] = {}

        def step(name: str, done: int, total: int) -> None:
            if name not in bars:
                bars[name] = progress.add_task(f"training {name}", total=total)
            progress.update(bars[name], completed=done)

        try:
            results = run_smoke(facekit, out or Path(scratch), size=Size(), workers=workers, on_step=step)
        except FaceKitError as error:
            console.print(f"{error}\nThe face model is ICT FaceKit (MIT): give its folder with --facekit.")
            raise typer.Exit(2) from error
    table = Table(title="SYNTHETIC: rendered subjects, to show that every part runs")
    for column in ("network", "NIR rank-1 %", "masked NIR rank-1 %", "loss at the end", "seconds"):
        table.add_column(column)
    for result in results:
        found = result["found"]["test"]
        rates = [f"{found[c]['rank1']:.1f}" for c in ("nir-unmasked", "nir-masked")]
        table.add_row(result["arm"], *rates, f"{result['loss']:.3f}", f"{result['seconds']:.0f}")
    console.print(table)
