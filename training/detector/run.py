"""Train the detector, going on where a killed run stopped."""

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
from training.detector.camera import photographed
from training.detector.choice import HardPlace
from training.detector.network import DetectorNet, NetworkConfig
from training.detector.pictures import Pictures
from training.detector.recipe import DetectorRecipe
from training.detector.scenes import Composer, Scene
from training.detector.targets import DetectorBatch, batch_of, cell_centres
from training.detector.task import DetectorTask
from training.engine.compile import compile_networks
from training.engine.loop import OnStep, Training
from training.engine.prefetch import prefetch

CHECKPOINT = "detector.pt"
AHEAD = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`start`: checkpoint whose weights the first step starts from. `compiled`: compile the network, which
    needs a C++ compiler. `threads`: of torch, 0 for its own choice. `hard`: places of the pictures that a
    detector took for faces."""

    out: Path
    start: Path | None = None
    compiled: bool = False
    device: str = "cpu"
    threads: int = 0
    hard: tuple[HardPlace, ...] = ()


def train_detector(
    recipe: DetectorRecipe,
    pictures: Pictures,
    place: Place,
    *,
    on_step: OnStep | None = None,
) -> Path:
    """The checkpoint of the averaged network, written at every save too. Raises DataSetError, Diverged."""
    torch.manual_seed(recipe.seed)
    if place.threads:
        torch.set_num_threads(place.threads)
    net = DetectorNet(recipe.network)
    if place.start is not None:
        net.load_state_dict(load_detector(place.start, recipe.network).state_dict())
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    task = DetectorTask(net, recipe.loss, side_px=recipe.side_px)
    training = Training(task, recipe.loop, out=place.out, device=place.device)
    training.resume()
    if place.compiled:
        compile_networks(net)
    path = place.out / CHECKPOINT

    training.run(
        prefetch(batches(recipe, pictures, training.iteration, hard=place.hard), depth=AHEAD),
        on_step=on_step,
        on_save=lambda _: save_detector(path, task, recipe.network),
    )
    return path


def batches(
    recipe: DetectorRecipe, pictures: Pictures, start: int = 0, *, hard: Sequence[HardPlace] = ()
) -> Iterator[DetectorBatch]:
    """Endless; a batch depends on the pictures, the hard places, the seed and its number alone."""
    composer = Composer(pictures, recipe.scenes, recipe.side_px, hard=hard)
    cells = cell_centres(recipe.side_px)
    iteration = start
    while True:
        rng = np.random.default_rng([recipe.seed, iteration])
        scenes = [composer.scene(rng) for _ in range(recipe.batch)]
        taken = [Scene(photographed(s.pixels, recipe.camera, rng), s.faces) for s in scenes]
        yield batch_of(iteration, taken, cells)
        iteration += 1


def save_detector(path: Path, task: DetectorTask, config: NetworkConfig) -> None:
    """The averaged network with its configuration, whole or not at all."""
    buffer = io.BytesIO()
    torch.save({"network": config.model_dump(), "state": task.averaged.state_dict()}, buffer)
    write_whole(path, buffer.getvalue())


def load_detector(path: Path, config: NetworkConfig | None = None) -> DetectorNet:
    """In evaluation mode. Raises DataSetError where the file is no detector of this project, or where its
    network is another than `config`."""
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
