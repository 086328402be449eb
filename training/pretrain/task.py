"""Classifies photos over all training subjects by a margin softmax, with optional distillation."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from faces.types import Spectrum
from training.engine.task import Outcome, Task
from training.methods.distillation import cosine_distance
from training.methods.losses import LossConfig, per_sample
from training.methods.plain import Head
from training.networks.layers import unit_rows
from training.pretrain.photo_loader import LabelledBatch


class Classify(Task[LabelledBatch]):
    """loss(cosines to all class weights) + `distil` x mean(1 - cos(A e, t)).

    `teacher`: dimension of its templates; A [teacher, d] is dropped after training. Part `first`: the
    share of photos that are nearest to their own class.
    """

    def __init__(
        self,
        encoder: nn.Module,
        loss: LossConfig,
        *,
        dimension: int,
        classes: int,
        head_lr: float = 1.0,
        distil: float = 0.0,
        teacher: int = 0,
    ) -> None:
        """Raises ValueError if distillation is wanted without a teacher."""
        super().__init__(encoder, bn_mode="separate")
        if distil and not teacher:
            raise ValueError("distillation needs a teacher's templates")
        self.loss, self.head_lr, self.distil = loss, head_lr, distil
        self.head = Head(classes, dimension)
        self.bridge = nn.Linear(dimension, teacher, bias=False) if distil else None

    def forward(self, batch: LabelledBatch) -> Outcome:
        rows = unit_rows(self.encoder(batch.images))
        cosine = self.head(rows)
        everyone = torch.ones((), dtype=torch.bool, device=rows.device).expand_as(cosine)
        loss = per_sample(cosine, batch.label, everyone, self.loss).mean()
        parts = {"first": (cosine.detach().argmax(dim=1) == batch.label).float().mean()}
        if self.bridge is not None:
            distance = cosine_distance(self.bridge, rows, batch.teacher)  # scalar
            loss, parts["away"] = loss + self.distil * distance, distance.detach()
        return Outcome(loss, {Spectrum.VIS: rows}, parts)

    def groups(self, lr: float) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [
            {"params": [p for p in self.encoder.parameters() if p.requires_grad], "lr": lr},
            {"params": list(self.head.parameters()), "lr": lr * self.head_lr},
        ]
        if self.bridge is not None:
            found.append({"params": list(self.bridge.parameters()), "lr": lr * 10})
        return found
