"""Defines the recipe of a detector's training, read from strict TOML."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from faces.strict import Strict
from training.detector.camera import CameraConfig
from training.detector.network import NetworkConfig
from training.detector.scenes import ScenesConfig
from training.detector.task import LossConfig
from training.engine.loop import LoopConfig


class DetectorRecipe(Strict):
    """Everything that decides a training but the pictures. `side_px` of a scene; `batch`: scenes per step."""

    network: NetworkConfig = NetworkConfig()
    scenes: ScenesConfig = ScenesConfig()
    camera: CameraConfig = CameraConfig()
    loss: LossConfig = LossConfig()
    side_px: Annotated[int, Field(ge=64, multiple_of=32)] = 256
    batch: Annotated[int, Field(gt=0)] = 16
    loop: LoopConfig = LoopConfig(
        iterations=8000, lr=3e-3, optimiser="adamw", schedule="cosine", warmup=200, weight_decay=0.02
    )
    seed: int = 0
