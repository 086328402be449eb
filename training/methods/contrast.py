"""The in-batch control: contrast within the batch, with neither moving average nor queue.

It tied HSST in a pilot (docs/hsst.md, 4.3), so every comparison needs it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from faces.strict import Strict
from training.data.batches import PairBatch
from training.engine.task import Outcome
from training.methods.losses import LossConfig
from training.methods.pair_task import PairTask
from training.methods.plain import in_batch
from training.networks.layers import BnMode


class ContrastConfig(Strict):
    kind: Literal["contrast"] = "contrast"
    loss: LossConfig = LossConfig()
    bn_mode: BnMode = "separate"


class Contrast(PairTask):
    """Both directions of one batch, with gradient on both sides."""

    def __init__(self, encoder: nn.Module, config: ContrastConfig) -> None:
        super().__init__(encoder, bn_mode=config.bn_mode)
        self.config = config

    def forward(self, batch: PairBatch) -> Outcome:
        rows = self.embed_pair(self.encoder, batch)  # [B, d] each
        losses = [in_batch(rows, s, batch.identity, self.config.loss).mean() for s in rows]  # scalars
        return Outcome(torch.stack(losses).mean(), rows)
