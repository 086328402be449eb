"""Runs a grid: each arm at each learning rate with one seed, then the other seeds at the arm's best rate.

The best rate is chosen on validation subjects. Runs are independent, so several processes share them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress

from faces.bundle import file_sha256
from faces.files import write_whole
from training.data.prepared import PreparedSet, Split, read_prepared
from training.engine.worker_pool import worker_pool
from training.evaluation.closed_set import closed_set
from training.networks.torch_encoder import load_checkpoint_encoder
from training.research.standin.arms import arms
from training.research.standin.run import (
    ENCODER,
    RESULT,
    EvaluationSet,
    RunConfig,
    counts_by_condition,
    run_arm,
)

# A learning rate is chosen by the mean over these conditions.
PROBE_CONDITIONS = ("nir-masked", "nir-unmasked")


@dataclass(frozen=True, slots=True)
class Grid:
    """All runs of a table. `teacher`: the teacher's templates by row (.npy)."""

    prepared: Path
    trunk: Path
    out: Path
    base: RunConfig
    names: tuple[str, ...]
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    teacher: Path | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One run of an arm."""

    name: str
    seed: int
    rate: float

    @property
    def folder(self) -> str:
        return f"{self.name.replace(' ', '_')}-{self.seed}-{self.rate:g}"


def run_grid(grid: Grid, *, workers: int = 1) -> None:
    """Runs what is not in `out` yet; an interrupted run continues where it stopped."""
    first = [Job(name, grid.seeds[0], rate) for name in grid.names for rate in _rates(grid, name)]
    rest = len(grid.names) * (len(grid.seeds) - 1)
    with (
        worker_pool(workers, _use_one_thread) as pool,
        Progress() as progress,
    ):
        bar = progress.add_task("runs", total=len(first) + rest)
        for jobs in (first, None):
            todo = jobs if jobs is not None else _jobs_at_best_rate(grid)
            waiting = {pool.submit(_run, grid, job): job for job in todo}
            for done in as_completed(waiting):
                done.result()
                progress.update(bar, advance=1, description=waiting[done].folder)


def _rates(grid: Grid, name: str) -> tuple[float, ...]:
    """An arm without training has no learning rate, so it runs once."""
    return grid.rates[:1] if arms(grid.base.iterations)[name].task is None else grid.rates


def _jobs_at_best_rate(grid: Grid) -> list[Job]:
    chosen = best_rates(results(grid.out))
    return [Job(name, seed, chosen[name]) for seed in grid.seeds[1:] for name in grid.names]


def _use_one_thread() -> None:
    """In each worker process: processes share the cores better than threads do."""
    torch.set_num_threads(1)


def _run(grid: Grid, job: Job) -> None:
    place = grid.out / job.folder
    if (place / RESULT).is_file():
        return
    prepared, tests = _open_set(grid.prepared)
    arm = arms(grid.base.iterations)[job.name]
    teacher = None
    if arm.task is not None and arm.task.distil:
        if grid.teacher is None:
            raise ValueError(f"{job.name} needs the teacher's templates")
        teacher = np.load(grid.teacher)
    config = grid.base.model_copy(update={"lr": job.rate, "seed": job.seed})
    means = grid.out / f"class-means-{file_sha256(grid.trunk)[:12]}.pt"
    run_arm(arm, prepared, grid.trunk, config, out=place, tests=tests, teacher=teacher, means=means)


def evaluate_on(out: Path, trunk: Path, prepared: Path, *, on_done: Callable[[str, int, int], None]) -> None:
    """Evaluates the encoder of each finished run on the test split of another set, and adds to its result."""
    other = read_prepared(prepared)
    places = sorted(path.parent for path in out.glob(f"*/{RESULT}"))
    for number, place in enumerate(places):
        result = json.loads((place / RESULT).read_text())
        if other.info.name not in result["found"]:
            path = place / ENCODER
            encoder = load_checkpoint_encoder(path if path.is_file() else trunk)
            result["found"][other.info.name] = counts_by_condition(closed_set(encoder, other, "test"))
            write_whole(place / RESULT, json.dumps(result).encode())
        on_done(place.name, number + 1, len(places))


@cache
def _open_set(prepared: Path) -> tuple[PreparedSet, list[EvaluationSet]]:
    main = read_prepared(prepared)
    splits: tuple[Split, ...] = ("validation", "test")
    return main, [EvaluationSet(split, main, split) for split in splits]


def results(out: Path) -> list[dict[str, Any]]:
    """Reads the result of each finished run."""
    return [json.loads(path.read_text()) for path in sorted(out.glob(f"*/{RESULT}"))]


def best_rates(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Returns the best learning rate of each arm.

    It has the best mean of masked and unmasked rank-1 on validation subjects, over the seeds that all rates
    of the arm were run with.
    """
    by_arm: dict[str, dict[float, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        found = run["found"]["validation"]
        score = float(np.mean([found[condition]["rank1"] for condition in PROBE_CONDITIONS]))
        by_arm[run["arm"]][run["lr"]][run["seed"]] = score
    return dict(_best(by_arm))


def _best(by_arm: dict[str, dict[float, dict[int, float]]]) -> Iterator[tuple[str, float]]:
    for name, rates in by_arm.items():
        # Every rate has the seed that the choice is made with; most have no other.
        shared = set.intersection(*(set(seeds) for seeds in rates.values()))
        yield name, max(rates, key=lambda rate: float(np.mean([rates[rate][seed] for seed in shared])))


def runs_at_best_rate(runs: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Returns the runs of each arm at its best rate, ordered by seed."""
    best = best_rates(runs)
    chosen: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: int(run["seed"])):
        if run["lr"] == best[run["arm"]]:
            chosen[run["arm"]].append(run)
    return dict(chosen)
