"""`python -m training standin`: the benchmark's steps, each resumable."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from training.data.prepared import read_prepared
from training.evaluation.hits import Hits, hit_rate, paired_difference, summed
from training.standin.arms import arms
from training.standin.build import Plan
from training.standin.build import build as build_set
from training.standin.photos import prepare_photos
from training.standin.run import RunConfig, Trial, run_arm
from training.standin.trunk import TrunkConfig, lesson, train_trunk

LFW = Path("../shared/data/lfw.tar")
BUNDLE = Path(".halflight/bundles/reference")
CONDITIONS = ("nir-masked", "nir-unmasked")

standin = typer.Typer(help="The paper's comparison on LFW, with pseudo-NIR and synthetic masks.")
Tar = Annotated[Path, typer.Option(help="the LFW archive")]
Detector = Annotated[Path, typer.Option(help="the bundle whose detector is used")]


@standin.command()
def photos(out: Path, lfw: Tar = LFW, bundle: Detector = BUNDLE) -> None:
    """Align every LFW photo: what a trunk is pre-trained on."""
    made = prepare_photos(lfw, bundle, out)
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
    made = build_set(
        lfw, bundle, out, models=models, templates=templates, plan=Plan(subjects=subjects), workers=workers
    )
    Console().print(f"{len(made.rows)} crops, {len(made.refused)} failed")


@standin.command()
def trunk(
    photos_set: Annotated[Path, typer.Argument(help="what `standin photos` made")],
    out: Path,
    bundle: Annotated[Path, typer.Option(help="the bundle whose embedder teaches")] = BUNDLE,
    iterations: int = 3200,
    mixtures: int = 20_000,
    compiled: Annotated[bool, typer.Option(help="compile the network (needs a C++ compiler)")] = False,
) -> None:
    """Pre-train the trunk that every arm starts from, by distillation."""
    config = TrunkConfig(iterations=iterations, mixtures=mixtures, compiled=compiled)
    taught = lesson(read_prepared(photos_set), bundle, config)
    with Progress() as progress:
        bar = progress.add_task("distilling", total=iterations)
        made = train_trunk(taught, config, out, on_step=_mover(progress, bar, 0))
    Console().print(f"trunk: {made.name}")


@standin.command()
def run(
    prepared: Path,
    start: Annotated[Path, typer.Argument(help="the trunk's checkpoint")],
    out: Path,
    arm: Annotated[list[str] | None, typer.Option(help="only these arms")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="training seeds")] = None,
    lr: Annotated[list[float] | None, typer.Option(help="learning rates to choose from")] = None,
    iterations: int = 1000,
    batch: int = 16,
    teacher: Annotated[Path | None, typer.Option(help="its templates by row of the set (.npy)")] = None,
    compiled: Annotated[bool, typer.Option(help="compile the network (needs a C++ compiler)")] = False,
) -> None:
    """Train and evaluate arms; what is already in OUT is left alone, so a run goes on where it was."""
    found, opened = arms(iterations), read_prepared(prepared)
    unknown = set(arm or ()) - set(found)
    if unknown:
        raise typer.BadParameter(f"no arm {min(unknown)!r}; there are: {', '.join(found)}")
    templates = None if teacher is None else np.load(teacher)
    tests = [Trial("validation", opened, "validation"), Trial("test", opened, "test")]
    jobs = [(a, s, r) for a in arm or found for s in seed or (0, 1, 2) for r in lr or (0.01,)]
    torch.set_num_threads(1)
    with Progress() as progress:
        bar = progress.add_task("arms", total=len(jobs) * iterations)
        for number, (name, one_seed, rate) in enumerate(jobs):
            config = RunConfig(iterations=iterations, batch=batch, lr=rate, seed=one_seed, compiled=compiled)
            place = out / f"{name.replace(' ', '_')}-{one_seed}-{rate}"
            progress.update(bar, description=f"{name}, seed {one_seed}, lr {rate:g}")
            if not (place / "result.json").is_file():
                run_arm(
                    found[name],
                    opened,
                    start,
                    config,
                    out=place,
                    tests=tests,
                    teacher=templates,
                    on_step=_mover(progress, bar, number * iterations),
                )
            progress.update(bar, completed=(number + 1) * iterations)
    table(out)


def _mover(progress: Progress, bar: TaskID, before: int) -> Callable[[int, float], None]:
    """Moves the bar to the iterations of earlier runs and those done of this one."""

    def move(done: int, _loss: float) -> None:
        progress.update(bar, completed=before + done)

    return move


@standin.command()
def table(
    out: Path,
    against: Annotated[str, typer.Option(help="what HSST is compared with")] = "plain+",
) -> None:
    """Print the table of all runs in OUT: the learning rate of each arm is the best on validation."""
    console = Console()
    chosen = choose(results(out))
    shown = Table(title="Stand-in, test subjects; pseudo-NIR and drawn masks are SYNTHETIC")
    for column in ("arm", "lr", "seeds", "masked NIR rank-1 %", "NIR rank-1 %", f"minus {against}, masked"):
        shown.add_column(column)
    for name, runs in chosen.items():
        rates = [_percent(runs, condition) for condition in CONDITIONS]
        shown.add_row(name, f"{runs[0]['lr']:g}", str(len(runs)), *rates, _difference(chosen, name, against))
    console.print(shown)


def results(out: Path) -> list[dict[str, Any]]:
    """Every finished run's result."""
    return [json.loads(path.read_text()) for path in sorted(out.glob("*/result.json"))]


def choose(runs: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Runs of each arm at the learning rate with the best mean rank-1 of masked validation probes."""
    by_rate: dict[str, dict[float, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for run_ in runs:
        by_rate[run_["arm"]][run_["lr"]].append(run_)

    def score(group: list[dict[str, Any]]) -> float:
        return float(np.mean([r["found"]["validation"]["nir-masked"]["rank1"] for r in group]))

    return {name: max(rates.values(), key=score) for name, rates in by_rate.items()}


def hits_of(runs: list[dict[str, Any]], condition: str) -> list[Hits]:
    """One `Hits` for each seed; subjects are numbered in the set's order."""
    found = []
    for run_ in runs:
        facts = run_["found"]["test"][condition]
        ids = np.arange(len(facts["hits"]), dtype=np.int64)
        found.append(Hits(ids, np.array(facts["hits"], np.int64), np.array(facts["probes"], np.int64)))
    return found


def _percent(runs: list[dict[str, Any]], condition: str) -> str:
    rate = hit_rate(summed(hits_of(runs, condition)))
    return f"{100 * rate.value:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def _difference(chosen: dict[str, list[dict[str, Any]]], name: str, against: str) -> str:
    if not name.startswith("HSST"):
        return ""
    loss = name.split()[1].rstrip(",")
    other = next((n for n in (f"{against} {loss}", f"plain {loss}") if n in chosen), None)
    if other is None:
        return ""
    gain = paired_difference(hits_of(chosen[name], "nir-masked"), hits_of(chosen[other], "nir-masked"))
    return f"{gain.value:+.1f} [{gain.low:+.1f}, {gain.high:+.1f}]"
