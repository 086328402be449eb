"""Trains an encoder from the trunk as a request says: its preset gives the recipe, its budget the length."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch

from faces.bundle import BundleError
from faces.files import write_whole
from training.data.pairs import QueueError, paired_subjects
from training.data.prepared import PreparedSet
from training.data.records import DataSetError
from training.engine.loop import Diverged
from training.finetune.fine_tuning import FineTuning
from training.finetune.recipe import Recipe, Validation, load_recipe, shortened
from training.finetune.run import ENCODER, RunOptions, train_recipe
from training.jobs.job_directory import JobFailed
from training.jobs.request import RetrainRequest
from training.methods.hsst import HsstConfig
from training.networks.checkpoint import load_network
from training.networks.shared_encoder import SharedEncoder

PRODUCT = "hsst-product"
SMOKE_ITERATIONS, SMOKE_BATCH, SMOKE_LR = 60, 8, 1e-2
# Iterations that are timed to turn minutes into iterations; the first ones are not counted.
TIMED, WARM_UP = 8, 3
PLAN, TIMING = "plan.json", "pace"
CHECKPOINTS = 20
OnStep = Callable[[int, int, float], None]


def train(request: RetrainRequest, prepared: PreparedSet, directory: Path, on_step: OnStep) -> Path:
    """Returns the encoder's checkpoint. Resumes the run in `directory` if there is one.

    `on_step` takes the iterations done, the iterations in total, and the loss. Raises JobFailed if the
    set does not fit the network, or if training diverges.
    """
    place = RunOptions(
        out=directory / "train",
        start=request.trunk,
        teacher=request.base if request.preset == "hsst+distill" else None,
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
    )
    try:
        _, backbone = load_network(request.trunk)
        if backbone.alignment != prepared.info.alignment:
            raise JobFailed(
                f"{prepared.info.name} is aligned to {prepared.info.alignment}, the network that training"
                f" starts from wants {backbone.alignment}: prepare the set with that alignment"
            )
        recipe = _planned_recipe(request, prepared, place, directory)
        _run(request, recipe, prepared, place, on_step)
    except (DataSetError, QueueError, Diverged, BundleError) as error:
        raise JobFailed(str(error)) from error
    return place.out / ENCODER


def preset_recipe(request: RetrainRequest, subjects: int) -> Recipe:
    """Returns the preset's recipe for this number of training subjects, at the recipe's own length."""
    recipe = load_recipe(PRODUCT)
    batch = min(SMOKE_BATCH if request.smoke else recipe.batch, subjects)
    method = recipe.task.method
    assert isinstance(method, HsstConfig)  # noqa: S101 - the product's recipe is HSST
    queue = min(method.queue // batch * batch, subjects // batch * batch)
    task = recipe.task.model_copy(
        update={
            "method": method.model_copy(update={"queue": max(queue, batch)}),
            "distil": recipe.task.distil if request.preset == "hsst+distill" else 0.0,
        }
    )
    changed = {"task": task, "batch": batch, "seed": request.seed, "validation": Validation()}
    recipe = recipe.model_copy(update=changed)
    if request.smoke:
        recipe = recipe.model_copy(update={"loop": recipe.loop.model_copy(update={"lr": SMOKE_LR})})
        recipe = shortened(recipe, SMOKE_ITERATIONS)
    return recipe


def _planned_recipe(
    request: RetrainRequest, prepared: PreparedSet, place: RunOptions, directory: Path
) -> Recipe:
    """Returns the recipe at the length of the request's budget; a resumed run keeps its first plan."""
    subjects = len(paired_subjects(prepared, "train"))
    recipe = preset_recipe(request, subjects)
    plan = directory / PLAN
    if plan.is_file():
        iterations = int(json.loads(plan.read_text())["iterations"])
    else:
        iterations = recipe.loop.iterations
        if request.iterations is not None:
            iterations = request.iterations
        elif request.epochs is not None:
            iterations = max(1, math.ceil(request.epochs * subjects / recipe.batch))
        elif request.minutes is not None:
            iterations = max(
                1,
                round(
                    request.minutes * 60 / _seconds_per_iteration(request, recipe, prepared, place, directory)
                ),
            )
        write_whole(plan, json.dumps({"iterations": iterations}).encode())
    recipe = shortened(recipe, iterations)
    every = max(1, min(recipe.loop.save_every, iterations // CHECKPOINTS))
    return recipe.model_copy(update={"loop": recipe.loop.model_copy(update={"save_every": every})})


def _seconds_per_iteration(
    request: RetrainRequest, recipe: Recipe, prepared: PreparedSet, place: RunOptions, directory: Path
) -> float:
    """Measures the duration of an iteration on a short run that is thrown away."""
    times: list[float] = []
    trial = RunOptions(out=directory / TIMING, start=place.start, teacher=place.teacher, device=place.device)
    _run(
        request,
        shortened(recipe, TIMED),
        prepared,
        trial,
        lambda *_: times.append(time.perf_counter()),
    )
    return (
        max((times[-1] - times[WARM_UP - 1]) / (len(times) - WARM_UP), 1e-4) if len(times) > WARM_UP else 1.0
    )


def _run(
    request: RetrainRequest, recipe: Recipe, prepared: PreparedSet, place: RunOptions, on_step: OnStep
) -> None:
    total = recipe.loop.iterations

    def step(done: int, loss: float) -> None:
        on_step(done, total, loss)

    if request.preset == "adapter":
        _train_adapter(recipe, prepared, place, step)
    else:
        train_recipe(recipe, prepared, place, on_step=step)


def _train_adapter(
    recipe: Recipe, prepared: PreparedSet, place: RunOptions, on_step: Callable[[int, float], None]
) -> None:
    """Trains a square matrix behind the frozen network by HSST, for few pairs: a whole network would overfit.

    The matrix starts as the identity, so training starts at the accuracy of the network. The statistics of
    the normalisation layers stay as they are.
    """
    assert place.start is not None  # noqa: S101 - a job starts from the trunk
    if (place.out / ENCODER).is_file():
        return
    torch.manual_seed(recipe.seed)
    net, backbone = load_network(place.start)
    if backbone.shared is not None:
        raise DataSetError("the network to start from ends in a matrix already")
    encoder = SharedEncoder(net.requires_grad_(False), torch.eye(backbone.dimension))
    recipe = recipe.model_copy(update={"backbone": backbone})
    tuning = FineTuning(recipe, encoder, prepared, out=place.out, device=place.device)
    tuning.run(on_step)
    tuning.save(place.out / ENCODER)
