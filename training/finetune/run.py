"""Runs one recipe on one prepared set, from initial weights to an encoder; every checkpoint resumes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.data.assign_splits import assign_validation
from training.data.digests import rows_digest
from training.data.pairs import PairSampler
from training.data.prepared import PreparedSet
from training.data.records import DataSetError
from training.engine.devices import barrier
from training.engine.distributed import rank, world_size
from training.engine.loop import OnStep
from training.engine.run_log import RunLog, TrainingData, new_record
from training.engine.run_record import RunRecord
from training.finetune.fine_tuning import FineTuning
from training.finetune.recipe import Recipe
from training.finetune.validation import Validator
from training.networks.backbone import BackboneConfig
from training.networks.initial_weights import initial_digest, load_initial
from training.networks.teacher import Teacher, by_row, cached_templates

ENCODER = "encoder.pt"
TEMPLATES = "teacher.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """`out`: the run's folder; `start`: a checkpoint or a bundle's folder, None for random weights;
    `teacher`: a bundle, for distillation; `compiled`: compiles the networks, which needs a C++ compiler;
    `cache`: a folder where runs share class means and the teacher's templates, None for the run's own."""

    out: Path
    start: Path | None = None
    teacher: Path | None = None
    compiled: bool = False
    cache: Path | None = None
    device: torch.device


def train_recipe(
    recipe: Recipe, prepared: PreparedSet, options: RunOptions, *, on_step: OnStep | None = None
) -> RunRecord:
    """Trains on the set's train split, or resumes the run in `options.out`; keeps a finished run.

    Writes `encoder.pt` and `last.pt` at every checkpoint, `log.jsonl`, `run.json`, and with validation
    `validation.jsonl` and `best.pt`. Raises DataSetError, RecipeError, QueueError and Diverged.
    """
    if recipe.batch % world_size():
        raise DataSetError(f"a batch of {recipe.batch} cannot be shared by {world_size()} processes")
    if recipe.validation.held_out:
        prepared = assign_validation(prepared, recipe.validation.held_out, seed=recipe.seed)
    # Every process draws the same random numbers from here on.
    torch.manual_seed(recipe.seed)
    net, recipe = _network(recipe, options)
    check_alignment(prepared, recipe.backbone)
    learned = TrainingData(prepared.info, rows_digest(prepared))
    record = new_record(recipe.facts(), learned, start=options.start, device=options.device)
    run_log = RunLog(record, options.out, images_seen=recipe.images_seen)
    before = run_log.before
    if before is not None and before.finished and (options.out / ENCODER).is_file():
        return before
    options.out.mkdir(parents=True, exist_ok=True)
    barrier()
    return _Run(recipe, prepared, options, net, run_log).go(on_step)


class _Run:
    """A run with its record and its evaluations on validation subjects."""

    def __init__(
        self, recipe: Recipe, prepared: PreparedSet, options: RunOptions, net: nn.Module, run_log: RunLog
    ) -> None:
        self.recipe, self.options, self.run_log = recipe, options, run_log
        self.tuning = FineTuning(
            recipe,
            net,
            prepared,
            out=options.out,
            device=options.device,
            templates=lambda sampler: teacher_templates(prepared, sampler, options),
            means=_shared_means(prepared, options),
            compiled=options.compiled,
        )
        self.validator: Validator | None = None
        if recipe.validation.every and not rank():
            iteration = self.tuning.training.iteration
            self.validator = Validator(prepared, self.tuning.backbone, options.out, iteration=iteration)
        barrier()

    def go(self, on_step: OnStep | None) -> RunRecord:
        last = self.recipe.loop.iterations

        def step(iteration: int, loss: float) -> None:
            due = iteration % max(self.recipe.validation.every, 1) == 0 or iteration == last
            if self.validator is not None and due:
                self.validator.evaluate(self.tuning.encoder, self.options.device, iteration)
            if on_step is not None:
                on_step(iteration, loss)

        self.run_log.begin()
        loss = self.tuning.run(step, self._keep)
        record = self.run_log.finish(loss)
        barrier()
        return record

    def _keep(self, iteration: int) -> None:
        self.tuning.save(self.options.out / ENCODER)
        self.run_log.keep(iteration)


def check_alignment(prepared: PreparedSet, backbone: BackboneConfig) -> None:
    """Raises DataSetError if the set is aligned otherwise than the network wants its crops.

    The network would train on resized crops, and every evaluation on the set would refuse it afterwards.
    """
    if prepared.info.alignment != backbone.alignment:
        raise DataSetError(
            f"{prepared.info.name} is aligned to {prepared.info.alignment}, the network wants"
            f" {backbone.alignment}: prepare the set with --alignment {backbone.alignment}"
        )


def _shared_means(prepared: PreparedSet, options: RunOptions) -> Path | None:
    """The file of the start's class means that runs on these rows share."""
    if options.cache is None or options.start is None:
        return None
    started = initial_digest(options.start)
    return options.cache / f"class-means-{started[:12]}-{rows_digest(prepared)[:12]}.pt"


def _network(recipe: Recipe, options: RunOptions) -> tuple[nn.Module, Recipe]:
    """The initial network, and the recipe with its backbone."""
    if options.start is None:
        return recipe.backbone.build(), recipe
    net, backbone = load_initial(options.start, dimension=recipe.backbone.dimension)
    return net, recipe.model_copy(update={"backbone": backbone})


def teacher_templates(
    prepared: PreparedSet, sampler: PairSampler, options: RunOptions
) -> NDArray[np.float32]:
    """The teacher's templates [rows, T] of the unmasked VIS photos in training, zero elsewhere.

    Raises DataSetError if no teacher is given, or the set and the teacher differ in alignment.
    """
    if options.teacher is None:
        raise DataSetError("this recipe distils: give the teacher's bundle with --teacher")
    wanted = Teacher(options.teacher).spec.alignment
    if wanted != prepared.info.alignment:
        raise DataSetError(
            f"{prepared.info.name} is aligned to {prepared.info.alignment}, the teacher wants {wanted}"
        )
    rows = np.array([i for subject in sampler.subjects for i in subject.vis], np.int64)
    cache = options.out / TEMPLATES
    if options.cache is not None:
        made = initial_digest(options.teacher)
        cache = options.cache / f"teacher-{made[:12]}-{rows_digest(prepared)[:12]}.npy"
        options.cache.mkdir(parents=True, exist_ok=True)
    if not rank():
        cached_templates(prepared, rows, options.teacher, cache)
    barrier()
    return by_row(prepared, rows, cached_templates(prepared, rows, options.teacher, cache))
