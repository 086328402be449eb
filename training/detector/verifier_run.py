"""Trains a verifier on a detector's doubtful detections; resumes a killed run."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from faces.strict import Strict
from faces.types import Pixels
from training.detector.camera import CameraConfig, apply_camera
from training.detector.doubts import AROUND, EXAMPLE_PX, Doubts
from training.detector.network import DetectorNet
from training.detector.verifier import CHECKPOINT, VerifierConfig, VerifierNet, save_verifier
from training.engine.ema import ema_update
from training.engine.loop import LoopConfig, OnStep, Training
from training.engine.prefetch import prefetch
from training.engine.task import Outcome, Task

AHEAD = 4
# Iterations of warm-up of the average, so that it forgets the random initial weights.
WARM = 10.0


class MovesConfig(Strict):
    """How a crop is moved: standard deviations of the enlargement's logarithm, of the shift in sides of the
    detection, and of the turn in degrees."""

    scale: Annotated[float, Field(ge=0, le=0.3)] = 0.08
    shift: Annotated[float, Field(ge=0, le=0.3)] = 0.05
    turn: Annotated[float, Field(ge=0, le=45)] = 6.0


class VerifierRecipe(Strict):
    """Everything that decides a training but the examples.

    `faces`: the share of a batch that shows faces; `hard`: of both kinds the share that the detector is not
    sure of, faces below the score `clear` and others from `doubtful` on; `camera_share`: of crops that
    another camera sees; `dropped`: share of features that training leaves out.
    """

    network: VerifierConfig = VerifierConfig()
    moves: MovesConfig = MovesConfig()
    camera: CameraConfig = CameraConfig(clipped=0.15)
    camera_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    faces: Annotated[float, Field(gt=0, lt=1)] = 0.5
    hard: Annotated[float, Field(gt=0, lt=1)] = 0.7
    clear: Annotated[float, Field(gt=0, lt=1)] = 0.8
    doubtful: Annotated[float, Field(gt=0, lt=1)] = 0.35
    dropped: Annotated[float, Field(ge=0, lt=1)] = 0.2
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.998
    batch: Annotated[int, Field(gt=1)] = 128
    loop: LoopConfig = LoopConfig(
        iterations=3000,
        lr=2e-3,
        optimiser="adamw",
        schedule="cosine",
        warmup=100,
        weight_decay=0.05,
        save_every=500,
        log_every=50,
    )
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class VerifierBatch:
    """`crops`: uint8 [B, side, side, 3]; `faces` [B]: 1 for a face, else 0."""

    iteration: int
    crops: Tensor
    faces: Tensor

    def to(self, device: torch.device) -> Self:
        return type(self)(self.iteration, self.crops.to(device), self.faces.to(device))


class VerifierTask(Task[VerifierBatch]):
    """`encoder` is the trained network, `averaged` its moving average, which is exported."""

    def __init__(self, net: VerifierNet, *, ema: float) -> None:
        super().__init__(net, bn_mode="joint")
        self.averaged, self.ema = copy.deepcopy(net).requires_grad_(False), ema

    def forward(self, batch: VerifierBatch) -> Outcome:
        x = (batch.crops.permute(0, 3, 1, 2).float() - 127.5) / 127.5
        logits = self.encoder(x)[:, 0].float()
        loss = functional.binary_cross_entropy_with_logits(logits, batch.faces)
        right = ((logits > 0) == (batch.faces > 0.5)).float().mean()
        return Outcome(loss, {}, {"right": right.detach()})

    @torch.no_grad()
    def after_step(self, batch: VerifierBatch, outcome: Outcome) -> None:  # noqa: ARG002 - the loop's form
        done = batch.iteration + 1
        ema_update(self.averaged, self.encoder, min(self.ema, done / (done + WARM)))
        for old, new in zip(self.averaged.buffers(), self.encoder.buffers(), strict=True):
            old.copy_(new)


def moved(example: Pixels, recipe: VerifierRecipe, rng: np.random.Generator) -> Pixels:
    """Returns the middle of an example as a crop, moved, turned, mirrored, and seen by a random camera."""
    config, moves, side = recipe.network, recipe.moves, recipe.network.input_px
    scale = side / EXAMPLE_PX * AROUND.times / config.times * float(np.exp(rng.normal(0.0, moves.scale)))
    turn = np.radians(float(rng.normal(0.0, moves.turn)))
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if rng.random() < 0.5 else 1.0, 1.0])
    shift = rng.normal(0.0, moves.shift, 2) * side / config.times
    # Pixels are squares: the middle of an example lies half a pixel before its half side.
    offset = np.full(2, (side - 1) / 2) + shift - linear @ np.full(2, (EXAMPLE_PX - 1) / 2)
    matrix = np.column_stack([linear, offset])
    crop = np.asarray(cv2.warpAffine(example, matrix, (side, side), flags=cv2.INTER_LINEAR), np.uint8)
    return apply_camera(crop, recipe.camera, rng) if rng.random() < recipe.camera_share else crop


class Drawer:
    """Draws batches of examples: faces and others, the doubtful faces more often than the clear ones."""

    def __init__(self, doubts: Sequence[Doubts], recipe: VerifierRecipe) -> None:
        self._doubts, self._recipe = doubts, recipe
        faces = np.concatenate([one.faces for one in doubts])
        scores = np.concatenate([one.scores for one in doubts])
        self._places = [(which, i) for which, one in enumerate(doubts) for i in range(len(one))]
        # Of each kind, the doubtful ones and the rest.
        self._kinds = {
            kind: tuple(np.flatnonzero((faces == kind) & (doubt == hard)) for hard in (True, False))
            for kind, doubt in ((True, scores < recipe.clear), (False, scores >= recipe.doubtful))
        }

    def batch(self, iteration: int) -> VerifierBatch:
        """Returns a batch that depends on examples, recipe and its number only."""
        recipe, rng = self._recipe, np.random.default_rng([self._recipe.seed, iteration])
        crops, faces = [], []
        for _ in range(recipe.batch):
            is_face = bool(rng.random() < recipe.faces)
            doubtful, rest = self._kinds[is_face]
            hard = len(doubtful) and (not len(rest) or rng.random() < recipe.hard)
            among = doubtful if hard else rest
            which, i = self._places[int(among[int(rng.integers(len(among)))])]
            crops.append(moved(np.asarray(self._doubts[which].crops[i]), recipe, rng))
            faces.append(float(is_face))
        return VerifierBatch(iteration, torch.from_numpy(np.stack(crops)), torch.tensor(faces))


def batches(doubts: Sequence[Doubts], recipe: VerifierRecipe, start: int = 0) -> Iterator[VerifierBatch]:
    """Yields batches without end."""
    drawer, iteration = Drawer(doubts, recipe), start
    while True:
        yield drawer.batch(iteration)
        iteration += 1


def train_verifier(
    recipe: VerifierRecipe,
    doubts: Sequence[Doubts],
    out: Path,
    *,
    start: DetectorNet | None = None,
    device: str = "cpu",
    threads: int = 0,
    on_step: OnStep | None = None,
) -> Path:
    """Returns the checkpoint of the averaged network, which every save writes.

    `start`: the detector whose first layers it begins with. Raises DataSetError if they do not fit, Diverged.
    """
    torch.manual_seed(recipe.seed)
    if threads:
        torch.set_num_threads(threads)
    net = VerifierNet(recipe.network, dropped=recipe.dropped)
    if start is not None:
        net.start_from(start)
    task = VerifierTask(net.to(memory_format=torch.channels_last), ema=recipe.ema)  # type: ignore[call-overload]
    training = Training(task, recipe.loop, out=out, device=device)
    training.resume()
    path = out / CHECKPOINT
    training.run(
        prefetch(batches(doubts, recipe, training.iteration), depth=AHEAD),
        on_step=on_step,
        on_save=lambda _: save_verifier(path, task.averaged, recipe.network),
    )
    return path
