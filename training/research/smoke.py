"""Runs every part of the training once, in three minutes: render, pre-train, fine-tune, evaluate.

Nothing is exported and the figures mean nothing: so few rendered faces only show that every part runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from training.data.prepared import PreparedSet
from training.engine.loop import LoopConfig
from training.evaluation.closed_set import ConditionRank1, closed_set
from training.finetune.recipe import Recipe
from training.finetune.run import ENCODER, RunOptions, train_recipe
from training.methods.build import TaskConfig
from training.methods.hsst import HsstConfig
from training.methods.losses import LossConfig
from training.methods.plain import PlainConfig
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import save_encoder
from training.networks.torch_encoder import load_checkpoint_encoder
from training.synthesis.rendered.family import tiny_family
from training.synthesis.rendered.model import load_model

BACKBONE = BackboneConfig(side_px=48, dimension=128, width=0.25)
SOFT = LossConfig(scale=16)
BATCH = 8


@dataclass(frozen=True, slots=True)
class Stage:
    """The length and the learning rate of one training."""

    iterations: int
    lr: float
    p_mask: float = 0.7


PRETRAIN = Stage(120, 0.05, p_mask=0.3)
FINE_TUNE = Stage(60, 0.01)


@dataclass(frozen=True, slots=True)
class Smoked:
    """One trained network and what it found of the test subjects' probes."""

    arm: str
    loss: float
    seconds: float
    found: tuple[ConditionRank1, ...]


@dataclass(frozen=True, slots=True)
class Size:
    """How many subjects are trained on and tested on."""

    train: int = 16
    test: int = 12


def rendered_sets(facekit: Path, out: Path, *, size: Size, workers: int) -> tuple[PreparedSet, PreparedSet]:
    """Renders a set to train on and one of other subjects to test on. Raises FaceKitError."""
    model = load_model(facekit)
    train_set = tiny_family(out / "train", model, subjects=size.train, seed=1, split="train", workers=workers)
    test_set = tiny_family(out / "test", model, subjects=size.test, seed=2, split="test", workers=workers)
    return train_set, test_set


def run_smoke(
    train_set: PreparedSet,
    test_set: PreparedSet,
    out: Path,
    *,
    on_step: Callable[[str, int, int], None],
    pretrain: Stage = PRETRAIN,
    fine_tune: Stage = FINE_TUNE,
) -> list[Smoked]:
    """Trains and tests three networks; returns the results of the pre-trained one, plain+ and HSST."""
    start = out / "start.pt"
    torch.manual_seed(0)
    save_encoder(start, BACKBONE.build(), BACKBONE)
    plain = TaskConfig(method=PlainConfig(loss=SOFT, head_lr=10))
    plus = TaskConfig(method=PlainConfig(loss=SOFT, class_means=True, head_lr=10))
    hsst = TaskConfig(method=HsstConfig(loss=SOFT, queue=BATCH, ema=0.9))

    def learn(name: str, task: TaskConfig, trunk: Path, stage: Stage) -> Smoked:
        warmup = min(50, stage.iterations // 10)
        recipe = Recipe(
            task=task,
            loop=LoopConfig(iterations=stage.iterations, lr=stage.lr, warmup=warmup),
            backbone=BACKBONE,
            batch=BATCH,
            p_mask=stage.p_mask,
        )
        place = RunOptions(out=out / name.replace(" ", "-"), start=trunk, device=torch.device("cpu"))
        record = train_recipe(
            recipe, train_set, place, on_step=lambda done, _: on_step(name, done, stage.iterations)
        )
        found = closed_set(load_checkpoint_encoder(place.out / ENCODER), test_set, "test")
        return Smoked(name, float("nan") if record.loss is None else record.loss, record.seconds, found)

    first = learn("pre-trained", plain, start, pretrain)
    trunk = out / "pre-trained" / ENCODER
    return [first, learn("plain+", plus, trunk, fine_tune), learn("HSST", hsst, trunk, fine_tune)]
