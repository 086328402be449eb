"""What decides a pre-training run but its data, as strict TOML (see `training.finetune.recipe`)."""

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
    """`batch`: photos of one step over all processes. `p_mask`: how often a photo is seen with a mask;
    `grey`: how often without colour. `sampling`: every photo equally often, or every subject.
    `min_photos`: subjects with fewer are left out."""

    batch: Annotated[int, Field(gt=1)] = 256
    p_mask: Share = 0.3
    grey: Share = 0.2
    mirror: bool = True
    sampling: Sampling = "photos"
    min_photos: Annotated[int, Field(ge=1)] = 1


class PretrainRecipe(Strict):
    """`backbone`: built at random weights unless training starts from a network that brings its own.
    `head_lr`: the classifier's learning rate over the network's. `distil`: weight of 1 - cos(A e, t), t the
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
