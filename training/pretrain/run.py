"""One pre-training run: from photos to an encoder, resumable at every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from training.data.records import DataSetError
from training.engine.devices import barrier
from training.engine.distributed import rank, world_size
from training.engine.loop import LAST, OnStep, Training
from training.engine.prefetch import prefetch_map
from training.engine.run_log import RunLog, TrainingData, new_record
from training.engine.run_record import RunRecord
from training.networks.checkpoint import save_encoder
from training.networks.initial_weights import load_initial
from training.networks.weights import load_weights
from training.pretrain.photo_loader import PhotoLoader
from training.pretrain.photos import Photos, check_alignment
from training.pretrain.recipe import PretrainRecipe
from training.pretrain.task import Classify
from training.pretrain.templates import Templates, make_templates

ENCODER = "encoder.pt"
TEMPLATES = "teacher"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """`out`: the run's folder; `start`: a checkpoint or a bundle's folder, None for random weights;
    `teacher`: a bundle's folder; `workers`: threads that make batches."""

    out: Path
    start: Path | None = None
    teacher: Path | None = None
    device: torch.device
    workers: int = 2


class PretrainRun:
    """Puts the parts of a run together; `go` trains. Every process makes one.

    Writes `encoder.pt` and `last.pt` at every checkpoint, `log.jsonl` and `run.json`.
    Raises DataSetError if set, recipe, start or folder contradict one another.
    """

    def __init__(self, recipe: PretrainRecipe, photos: Photos, options: RunOptions) -> None:
        # Every process draws the same random numbers from here on.
        torch.manual_seed(recipe.seed)
        net, recipe = start_network(recipe, options.start)
        check_alignment(photos, recipe.backbone.alignment)
        self.recipe, self.options = recipe, options
        facts = recipe.model_dump(mode="json", exclude={"backbone": {"imported"}})
        learned = TrainingData(photos.info, photos.digest)
        record = new_record(facts, learned, start=options.start, device=options.device)
        self.run_log = RunLog(record, options.out, images_seen=lambda done: done * recipe.feed.batch)
        options.out.mkdir(parents=True, exist_ok=True)
        templates = _templates(photos, options) if recipe.distil else None
        side = recipe.backbone.side_px
        self.loader = PhotoLoader(photos, recipe.feed, side_px=side, seed=recipe.seed, teacher=templates)
        task = Classify(
            net,
            recipe.loss,
            dimension=recipe.backbone.dimension,
            classes=len(photos.subjects),
            head_lr=recipe.head_lr,
            distil=recipe.distil,
            teacher=0 if templates is None else templates.dimension,
        )
        self.training = Training(task, recipe.loop, out=options.out, device=str(options.device))
        self.resumed = self.training.resume()
        barrier()

    def go(self, on_step: OnStep | None = None) -> RunRecord:
        """Trains to the end. Raises Diverged."""
        training = self.training
        self.run_log.begin()
        ddp = DistributedDataParallel(training.task) if world_size() > 1 else None
        left = range(training.iteration, self.recipe.loop.iterations)
        batches = prefetch_map(self.loader.batch, left, workers=self.options.workers)
        loss = training.run(batches, step=ddp, on_step=on_step, on_save=self._keep)
        record = self.run_log.finish(loss)
        barrier()
        return record

    def _keep(self, iteration: int) -> None:
        record = self.run_log.record
        history = {"recipe": record.recipe, "set": record.set_name, "start": record.start}
        encoder = self.training.task.encoder
        save_encoder(self.options.out / ENCODER, encoder, self.recipe.backbone, history=history)
        self.run_log.keep(iteration)


def start_network(recipe: PretrainRecipe, start: Path | None) -> tuple[nn.Module, PretrainRecipe]:
    """The initial network, and the recipe with its backbone.

    A bundle's embedder and an encoder's checkpoint bring their own backbone; a run's `last.pt` and an ONNX
    file provide weights for the recipe's, by name. Raises DataSetError.
    """
    if start is None:
        return recipe.backbone.build(), recipe
    if start.name == LAST or start.suffix == ".onnx":
        built = recipe.backbone.build()
        load_weights(built, start)
        return built, recipe
    net, backbone = load_initial(start, dimension=recipe.backbone.dimension)
    return net, recipe.model_copy(update={"backbone": backbone})


def _templates(photos: Photos, options: RunOptions) -> Templates:
    if options.teacher is None:
        raise DataSetError("this recipe distils: give the teacher's bundle with --teacher")
    folder = options.out / TEMPLATES
    if not rank():
        make_templates(photos, options.teacher, folder)
    barrier()
    return Templates(folder, len(photos))
