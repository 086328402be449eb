"""Trains the detector; resumes a killed run."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from pydantic import ValidationError

from faces.files import write_whole
from training.data.records import DataSetError
from training.detector.camera import apply_camera
from training.detector.network import DetectorNet, NetworkConfig
from training.detector.pictures import Pictures
from training.detector.recipe import DetectorRecipe
from training.detector.sampler import HardNegative
from training.detector.scenes import Composer, Scene
from training.detector.targets import DetectorBatch, batch_of, cell_centres
from training.detector.task import DetectorTask
from training.engine.compile import compile_networks
from training.engine.loop import OnStep, Training
from training.engine.prefetch import prefetch

CHECKPOINT = "detector.pt"
AHEAD = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Where and how a run happens. `start`: checkpoint of the initial weights. `compiled`: compiles the
    network, which needs a C++ compiler. `threads` of torch, 0 for its default. `hard`: hard negatives."""

    out: Path
    start: Path | None = None
    compiled: bool = False
    device: str = "cpu"
    threads: int = 0
    hard: tuple[HardNegative, ...] = ()


def train_detector(
    recipe: DetectorRecipe,
    pictures: Pictures,
    options: RunOptions,
    *,
    on_step: OnStep | None = None,
) -> Path:
    """Returns the checkpoint of the averaged network, which every save writes.

    Raises DataSetError if the pictures or `start` do not fit, Diverged if the loss does.
    """
    torch.manual_seed(recipe.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    net = DetectorNet(recipe.network)
    if options.start is not None:
        net.load_state_dict(load_detector(options.start, recipe.network).state_dict())
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    task = DetectorTask(net, recipe.loss, side_px=recipe.side_px)
    training = Training(task, recipe.loop, out=options.out, device=options.device)
    training.resume()
    if options.compiled:
        compile_networks(net)
    path = options.out / CHECKPOINT

    training.run(
        prefetch(batches(recipe, pictures, training.iteration, hard=options.hard), depth=AHEAD),
        on_step=on_step,
        on_save=lambda _: save_detector(path, task, recipe.network),
    )
    return path


def batches(
    recipe: DetectorRecipe, pictures: Pictures, start: int = 0, *, hard: Sequence[HardNegative] = ()
) -> Iterator[DetectorBatch]:
    """Yields batches without end; a batch depends on pictures, hard negatives, seed and its number only."""
    composer = Composer(pictures, recipe.scenes, recipe.side_px, hard=hard)
    cells = cell_centres(recipe.side_px)
    iteration = start
    while True:
        rng = np.random.default_rng([recipe.seed, iteration])
        scenes = [composer.scene(rng) for _ in range(recipe.batch)]
        taken = [Scene(apply_camera(s.pixels, recipe.camera, rng), s.faces) for s in scenes]
        yield batch_of(iteration, taken, cells)
        iteration += 1


def save_detector(path: Path, task: DetectorTask, config: NetworkConfig) -> None:
    """Writes the averaged network with its configuration, whole or not at all."""
    buffer = io.BytesIO()
    torch.save({"network": config.model_dump(), "state": task.averaged.state_dict()}, buffer)
    write_whole(path, buffer.getvalue())


def load_detector(path: Path, config: NetworkConfig | None = None) -> DetectorNet:
    """Returns the network in evaluation mode.

    Raises DataSetError if the file is not a detector of this project, or not of the configuration `config`.
    """
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
        found = NetworkConfig.model_validate(held["network"])
        net = DetectorNet(found)
        net.load_state_dict(held["state"])
    except (OSError, RuntimeError, KeyError, TypeError, UnpicklingError, ValidationError) as error:
        raise DataSetError(f"{path.name} is no checkpoint of a detector: {type(error).__name__}") from error
    if config is not None and found != config:
        raise DataSetError(f"{path.name} holds another network than the recipe's")
    return net.eval()
