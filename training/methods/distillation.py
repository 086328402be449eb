"""Template distillation: pulls embeddings towards a frozen teacher's templates (docs/hsst.md, section 5).

`Distil` alone pre-trains a backbone. `Distilled` adds distillation to another task: it pulls both photos'
embeddings towards the teacher's template of the unmasked VIS photo.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from faces.types import Spectrum
from training.data.batches import PairBatch
from training.engine.task import Outcome, Task
from training.methods.losses import cosines
from training.methods.pair_task import PairTask
from training.networks.imported import ImportedNet
from training.networks.layers import unit_rows


@dataclass(frozen=True, eq=False)
class TaughtBatch:
    """`images`: [B, 3, side, side] in [-1, 1]; `teacher`: [B, T], unit templates of the same faces."""

    iteration: int
    images: Tensor
    teacher: Tensor

    def to(self, device: torch.device) -> TaughtBatch:
        return TaughtBatch(self.iteration, self.images.to(device), self.teacher.to(device))


def cosine_distance(projection: nn.Module, rows: Tensor, teacher: Tensor | None) -> Tensor:
    """mean(1 - cos(A e, t)), a scalar, of unit rows e [b, d] and unit templates t [b, T]; A is `projection`.

    Raises ValueError if the batch has no templates.
    """
    if teacher is None:
        raise ValueError("distillation needs the teacher's templates in every batch")
    projected = unit_rows(projection(rows))  # [b, T]
    return (1.0 - (projected * teacher).sum(dim=1)).mean()


class Distil(Task[TaughtBatch]):
    """mean(1 - cos(A e, t)) + `pairwise` x mean squared error of all similarities within the batch.

    A [T, d] projects the student's embedding to the teacher's dimension and is dropped after training. The
    second term needs no A, so the student's scores mean what the teacher's do.
    """

    def __init__(self, encoder: nn.Module, *, dimension: int, teacher: int, pairwise: float = 5.0) -> None:
        super().__init__(encoder, bn_mode="separate")
        self.pairwise = pairwise
        # A; checkpoints hold it under this name, logs the distance under `away`.
        self.bridge = nn.Linear(dimension, teacher, bias=False)

    def forward(self, batch: TaughtBatch) -> Outcome:
        rows = unit_rows(self.encoder(batch.images))  # [B, d]
        distance = cosine_distance(self.bridge, rows, batch.teacher)  # scalar
        error = cosines(rows, rows) - cosines(batch.teacher, batch.teacher)  # [B, B]
        pairs = error.square().mean()  # scalar
        parts = {"away": distance.detach(), "pairs": pairs.detach()}
        return Outcome(distance + self.pairwise * pairs, {Spectrum.VIS: rows}, parts)


class Distilled(PairTask):
    """Another task plus `weight` x mean(1 - cos(A p(x), t)) over both spectra's photos of the batch.

    If the encoder is an imported network of the teacher's dimension, A starts as the projection back to the
    file's own output: a random A would destroy what the network knows.
    """

    def __init__(self, task: PairTask, *, dimension: int, teacher: int, weight: float) -> None:
        super().__init__(task.encoder, bn_mode=task.bn_mode)
        self.task, self.weight = task, weight
        self.bridge = nn.Linear(dimension, teacher, bias=False)
        if isinstance(task.encoder, ImportedNet) and task.encoder.config.width == teacher:
            with torch.no_grad():
                self.bridge.weight.copy_(task.encoder.homeward())

    def forward(self, batch: PairBatch) -> Outcome:
        """Raises ValueError if the batch has no templates."""
        outcome = self.task(batch)
        each = [cosine_distance(self.bridge, rows, batch.teacher) for rows in outcome.embeddings.values()]
        distance = torch.stack(each).mean()  # scalar
        parts = {**outcome.parts, "away": distance.detach()}
        return Outcome(outcome.loss + self.weight * distance, outcome.embeddings, parts, outcome.carry)

    def after_step(self, batch: PairBatch, outcome: Outcome) -> None:
        self.task.after_step(batch, outcome)

    def groups(self, lr: float) -> list[dict[str, Any]]:
        return [*self.task.groups(lr), {"params": list(self.bridge.parameters()), "lr": lr * 10}]
