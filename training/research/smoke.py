"""Runs every part of the training once, in three minutes: render, pre-train, fine-tune, evaluate.

Nothing is exported and the figures mean nothing: so few rendered faces only show that every part runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.data.prepared import PreparedSet
from training.methods.build import TaskConfig
from training.methods.hsst import HsstConfig
from training.methods.losses import LossConfig
from training.methods.plain import PlainConfig
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import save_encoder
from training.research.standin.arms import Arm
from training.research.standin.run import EvaluationSet, RunConfig, run_arm
from training.synthesis.rendered.family import tiny_family
from training.synthesis.rendered.model import load_model

BACKBONE = BackboneConfig(side_px=48, dimension=128, width=0.25)
SOFT = LossConfig(scale=16)
BATCH = 8
PRETRAIN = RunConfig(iterations=120, batch=BATCH, lr=0.05, p_mask=0.3)
FINE_TUNE = RunConfig(iterations=60, batch=BATCH, lr=0.01)


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
    pretrain: RunConfig = PRETRAIN,
    fine_tune: RunConfig = FINE_TUNE,
) -> list[dict[str, Any]]:
    """Trains and tests three networks; returns the results of the pre-trained one, plain+ and HSST."""
    tests = [EvaluationSet("test", test_set, "test")]
    start = out / "start.pt"
    torch.manual_seed(0)
    save_encoder(start, BACKBONE.build(), BACKBONE)
    plain = TaskConfig(method=PlainConfig(loss=SOFT, head_lr=10))
    plus = TaskConfig(method=PlainConfig(loss=SOFT, class_means=True, head_lr=10))
    hsst = TaskConfig(method=HsstConfig(loss=SOFT, queue=BATCH, ema=0.9))

    def train(name: str, task: TaskConfig | None, trunk: Path, config: RunConfig) -> dict[str, Any]:
        return run_arm(
            Arm(name, task),
            train_set,
            trunk,
            config,
            out=out / name.replace(" ", "-"),
            tests=tests,
            on_step=lambda done, _: on_step(name, done, config.iterations),
        )

    first = train("pre-trained", plain, start, pretrain)
    trunk = out / "pre-trained" / "encoder.pt"
    return [first, train("plain+", plus, trunk, fine_tune), train("HSST", hsst, trunk, fine_tune)]
