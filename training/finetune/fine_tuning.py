"""Puts sampler, method and loop of one recipe on one prepared set together, for every trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from training.data.batches import PairBatch
from training.data.pair_loader import GreyPairLoader, PairLoader
from training.data.pairs import PairSampler
from training.data.prepared import PreparedSet
from training.engine.compile import compile_task
from training.engine.devices import OnDevice
from training.engine.distributed import rank, world_size
from training.engine.loop import OnSave, OnStep, Training
from training.engine.prefetch import prefetch
from training.engine.recipe_file import RecipeError
from training.finetune.recipe import Recipe
from training.methods.build import build_task
from training.methods.class_means import cached_class_means
from training.networks.checkpoint import save_encoder
from training.networks.shared_encoder import SharedEncoder
from training.networks.torch_encoder import TorchEncoder

CPU = torch.device("cpu")

# The sampler of the training subjects -> the teacher's templates float32 [rows of the set, T].
Templates = Callable[[PairSampler], NDArray[np.float32]]


def own_share(batches: Iterable[PairBatch]) -> Iterator[PairBatch]:
    """Yields this process's part of each batch, in order of rank.

    Every process reads the whole batch, so that the result does not depend on the number of processes.
    """
    world, mine = world_size(), rank()
    for batch in batches:
        size = len(batch.identity) // world
        part = slice(mine * size, (mine + 1) * size)
        teacher = None if batch.teacher is None else batch.teacher[part]
        yield PairBatch(batch.iteration, batch.nir[part], batch.vis[part], batch.identity[part], teacher)


class FineTuning:
    """Trains a network on a set's train split, or resumes the run in `out`.

    `net` has the recipe's backbone. `templates`: called if the recipe distils. `means`: a file that caches
    the class means of the initial network between runs; None computes them. `compiled`: see `compile_task`.
    Raises DataSetError, QueueError, and RecipeError if the parts of the recipe contradict one another.
    """

    def __init__(
        self,
        recipe: Recipe,
        net: nn.Module,
        prepared: PreparedSet,
        *,
        out: Path,
        device: torch.device = CPU,
        templates: Templates | None = None,
        means: Path | None = None,
        compiled: bool = False,
    ) -> None:
        self.recipe = recipe
        sampler = PairSampler(
            prepared,
            split="train",
            batch=recipe.batch,
            queue=recipe.task.queue,
            p_mask=recipe.p_mask,
            seed=recipe.seed,
        )
        taught = templates(sampler) if recipe.task.distil and templates is not None else None
        loader = GreyPairLoader if recipe.grey_probes else PairLoader
        self._loader = loader(
            prepared,
            sampler,
            side_px=recipe.backbone.side_px,
            teacher=taught,
            augmentation=recipe.augment,
        )
        # This layout makes convolutions faster on current CPUs and GPUs.
        net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        start = None
        if recipe.task.wants_means:
            encoder = TorchEncoder(OnDevice(net, device), recipe.backbone, name="start")
            start = cached_class_means(encoder, prepared, sampler, means)
        try:
            self.task = build_task(
                recipe.task,
                net,
                dimension=recipe.backbone.dimension,
                classes=len(sampler.subjects),
                batch=recipe.batch,
                seed=recipe.seed,
                means=start,
                teacher=0 if taught is None else taught.shape[1],
            )
        except ValueError as error:
            raise RecipeError(f"this recipe does not fit: {error}") from error
        if compiled:
            compile_task(self.task)
        self.training = Training(self.task, recipe.loop, out=out, device=str(device))
        self.training.resume()
        shared = len(self.encoder.shared) if isinstance(self.encoder, SharedEncoder) else None
        self.backbone = recipe.backbone.model_copy(update={"shared": shared})

    @property
    def encoder(self) -> nn.Module:
        """The network of inference."""
        return self.task.encoder

    def run(self, on_step: OnStep | None = None, on_save: OnSave | None = None) -> float:
        """Trains to the end; returns the mean loss of the last tenth. Raises Diverged."""
        training = self.training
        several = world_size() > 1
        whole = DistributedDataParallel(self.task, broadcast_buffers=False) if several else None
        left = self.recipe.loop.iterations - training.iteration
        batches = own_share(islice(self._loader.batches(training.iteration), left))
        return training.run(prefetch(batches), step=whole, on_step=on_step, on_save=on_save)

    def save(self, path: Path) -> None:
        """Writes the encoder with its present backbone configuration."""
        save_encoder(path, self.encoder, self.backbone)
