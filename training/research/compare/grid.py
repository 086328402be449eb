"""Runs a plan: every rate with the first seed, then the other seeds at each arm's best rate.

The best rate is chosen on validation subjects. Runs are independent, so several processes share them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import as_completed

import numpy as np
import torch

from training.engine.progress import Reporter
from training.engine.worker_pool import worker_pool
from training.finetune.recipe import load_recipe
from training.research.compare.plan import Plan
from training.research.compare.result import Result
from training.research.compare.run import VALIDATION, Job, Settings, run_job
from training.research.compare.sets import open_sets


def run_plan(
    plan: Plan, settings: Settings, *, seeds: Sequence[int], workers: int, progress: Reporter
) -> list[Result]:
    """Runs what is not in `settings.out` yet, and returns the results at each arm's best rate."""
    folds = range(len(open_sets(settings.sets).folds))
    rates: Sequence[float | None] = settings.rates or (None,)
    first = [
        Job(arm, fold, seeds[0], rate)
        for fold in folds
        for arm in plan.arms
        for rate in (rates if arm.recipe is not None else (None,))
    ]
    total = len(first) + len(folds) * len(plan.arms) * (len(seeds) - 1)
    found = list(_run(plan, first, settings, workers, progress, before=0, total=total))
    chosen = best_rates(found) if len(settings.rates) > 1 else {}
    rest = [
        Job(arm, fold, seed, chosen.get(arm.name, rates[0]) if arm.recipe is not None else None)
        for seed in seeds[1:]
        for fold in folds
        for arm in plan.arms
        # The start is the same whatever the seed is.
        if arm.recipe is not None
    ]
    found += _run(plan, rest, settings, workers, progress, before=len(first), total=total)
    return at_best_rate(found)


def _run(
    plan: Plan,
    jobs: Sequence[Job],
    settings: Settings,
    workers: int,
    progress: Reporter,
    *,
    before: int,
    total: int,
) -> Iterable[Result]:
    if workers > 1 and jobs:
        with worker_pool(min(workers, len(jobs)), torch.set_num_threads, 1) as pool:
            waiting = {pool.submit(run_job, plan, job, settings): job for job in jobs}
            for done, future in enumerate(as_completed(waiting), before + 1):
                progress.show("runs", done, total, waiting[future].arm.name)
            # In the order of the jobs, so that the table does not depend on who was faster.
            yield from [future.result() for future in waiting]
        return
    for number, job in enumerate(jobs, before + 1):
        fold = open_sets(settings.sets).folds[job.fold].name
        rate = "" if job.rate is None else f", lr {job.rate:g}"
        label = f"{number} of {total}, {job.arm.name}, {fold}, seed {job.seed}{rate}"
        length = settings.iterations or plan.file.iterations
        if length is None and job.arm.recipe is not None:
            length = load_recipe(job.arm.recipe).loop.iterations

        def step(done: int, loss: float, label: str = label, length: int = length or 0) -> None:
            progress.show(f"{label}: training", done, length, f"loss {loss:.3f}")

        def embedded(test: str, done: int, count: int, label: str = label) -> None:
            progress.show(f"{label}: evaluating on {test}", done, count)

        yield run_job(plan, job, settings, on_step=step, on_embedded=embedded)


def best_rates(results: Sequence[Result]) -> Mapping[str, float]:
    """Returns the best learning rate of each arm.

    It has the best mean rank-1 of masked and unmasked NIR probes of validation subjects over the folds and
    seeds that all rates of the arm were run with.
    """
    by_arm: dict[str, dict[float, dict[tuple[str, int], float]]] = defaultdict(lambda: defaultdict(dict))
    for result in results:
        conditions = result.found.get(VALIDATION, {})
        rates = [conditions[name].rank1 for name in sorted(conditions) if name.startswith("nir")]
        if rates:
            by_arm[result.arm][result.lr][result.fold, result.seed] = float(np.mean(rates))
    best = {}
    for arm, rates_of in by_arm.items():
        # Every rate has the seed that the choice is made with; most have no other.
        shared = sorted(set.intersection(*(set(runs) for runs in rates_of.values())))
        means = {rate: float(np.mean([runs[one] for one in shared])) for rate, runs in rates_of.items()}
        best[arm] = max(means, key=means.__getitem__)
    return best


def at_best_rate(results: Sequence[Result]) -> list[Result]:
    """Returns the results of each arm at its best rate; all of an arm that has no choice."""
    best = best_rates(results)
    return [result for result in results if result.lr == best.get(result.arm, result.lr)]
