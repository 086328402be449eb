"""The recipe of a pre-training run, as strict TOML (see `training.engine.recipe_file`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from faces.strict import Strict
from training.engine.loop import LoopConfig
from training.methods.losses import LossConfig
from training.networks.backbone import BackboneConfig

Sampling = Literal["photos", "subjects"]
Share = Annotated[float, Field(ge=0, le=1)]


class FeedConfig(Strict):
    """`batch`: photos of one step over all processes. `p_mask`, `grey`: the probability of a mask, and of a
    photo without colour. `sampling`: draws every photo, or every subject, equally often. `min_photos`:
    subjects with fewer are left out."""

    batch: Annotated[int, Field(gt=1)] = 256
    p_mask: Share = 0.3
    grey: Share = 0.2
    mirror: bool = True
    sampling: Sampling = "photos"
    min_photos: Annotated[int, Field(ge=1)] = 1


class PretrainRecipe(Strict):
    """`backbone`: used with random weights; a network to start from brings its own. `head_lr`: the
    classifier's learning rate divided by the network's. `distil`: weight of 1 - cos(A e, t), t the
    teacher's template of the unmasked photo; 0 needs no teacher."""

    backbone: BackboneConfig = BackboneConfig()
    loss: LossConfig = LossConfig(name="am", scale=64, margin=0.35)
    head_lr: Annotated[float, Field(gt=0)] = 1.0
    distil: Annotated[float, Field(ge=0)] = 0.0
    feed: FeedConfig = FeedConfig()
    loop: LoopConfig = LoopConfig(iterations=200_000, lr=0.1, schedule="cosine", warmup=1000)
    seed: int = 0

    @model_validator(mode="after")
    def _classifies(self) -> PretrainRecipe:
        if self.loss.name == "triplet":
            raise ValueError("pre-training classifies: softmax, am or arc")
        return self
