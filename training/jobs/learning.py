"""Presets and budgets -> a recipe, and its run: from the trunk to an encoder, resumable."""

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
from training.finetune.run import ENCODER, Place, train_recipe
from training.jobs.job_directory import CannotDo
from training.jobs.request import Request
from training.methods.hsst import HsstConfig
from training.networks.checkpoint import load_network
from training.networks.shared_encoder import SharedEncoder

PRODUCT = "hsst-product"
SMOKE_ITERATIONS, SMOKE_BATCH, SMOKE_LR = 60, 8, 1e-2
# Steps that are timed to turn minutes into iterations; the first ones warm up.
TIMED, WARM = 8, 3
PLAN, PACE = "plan.json", "pace"
CHECKPOINTS = 20
OnStep = Callable[[int, int, float], None]


def learn(request: Request, prepared: PreparedSet, directory: Path, on_step: OnStep) -> Path:
    """Train as the request says; the encoder's checkpoint. Goes on with what is in `directory`.

    `on_step` gets iterations done, iterations in all, and the loss. Raises CannotDo.
    """
    place = Place(
        out=directory / "train",
        start=request.trunk,
        teacher=request.base if request.preset == "hsst+distill" else None,
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
    )
    try:
        _, backbone = load_network(request.trunk)
        if backbone.alignment != prepared.info.alignment:
            raise CannotDo(
                f"{prepared.info.name} is aligned to {prepared.info.alignment}, the network that training"
                f" starts from wants {backbone.alignment}: prepare the set with that alignment"
            )
        recipe = _planned(request, prepared, place, directory)
        _run(request, recipe, prepared, place, on_step)
    except (DataSetError, QueueError, Diverged, BundleError) as error:
        raise CannotDo(str(error)) from error
    return place.out / ENCODER


def recipe_of(request: Request, subjects: int) -> Recipe:
    """The preset's recipe for so many training subjects, at its own length."""
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


def _planned(request: Request, prepared: PreparedSet, place: Place, directory: Path) -> Recipe:
    """The recipe at the length that was asked for, decided once: a resumed run must not decide anew."""
    subjects = len(paired_subjects(prepared, "train"))
    recipe = recipe_of(request, subjects)
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
                1, round(request.minutes * 60 / _seconds(request, recipe, prepared, place, directory))
            )
        write_whole(plan, json.dumps({"iterations": iterations}).encode())
    recipe = shortened(recipe, iterations)
    every = max(1, min(recipe.loop.save_every, iterations // CHECKPOINTS))
    return recipe.model_copy(update={"loop": recipe.loop.model_copy(update={"save_every": every})})


def _seconds(request: Request, recipe: Recipe, prepared: PreparedSet, place: Place, directory: Path) -> float:
    """Of one iteration, measured on a few that are thrown away."""
    times: list[float] = []
    trial = Place(out=directory / PACE, start=place.start, teacher=place.teacher, device=place.device)
    _run(
        request,
        shortened(recipe, TIMED),
        prepared,
        trial,
        lambda *_: times.append(time.perf_counter()),
    )
    return max((times[-1] - times[WARM - 1]) / (len(times) - WARM), 1e-4) if len(times) > WARM else 1.0


def _run(request: Request, recipe: Recipe, prepared: PreparedSet, place: Place, on_step: OnStep) -> None:
    total = recipe.loop.iterations

    def step(done: int, loss: float) -> None:
        on_step(done, total, loss)

    if request.preset == "adapter":
        _adapt(recipe, prepared, place, step)
    else:
        train_recipe(recipe, prepared, place, on_step=step)


def _adapt(
    recipe: Recipe, prepared: PreparedSet, place: Place, on_step: Callable[[int, float], None]
) -> None:
    """HSST of a square matrix behind a frozen network: for few pairs, which a whole network learns by heart.

    The matrix starts as the identity, so that training starts at what the network can do. The statistics
    of normalisation stay the network's own.
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
