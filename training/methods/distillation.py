"""Template distillation: pull embeddings towards a frozen teacher's templates.

As a task of its own it pre-trains a backbone; `Distilled` adds it to any other task: the masked NIR
photo's embedding towards the teacher's template of the unmasked VIS photo.
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
    """`images` [B, 3, side, side] in [-1, 1], `teacher` [B, T] unit templates of the same faces."""

    iteration: int
    images: Tensor
    teacher: Tensor

    def to(self, device: torch.device) -> TaughtBatch:
        return TaughtBatch(self.iteration, self.images.to(device), self.teacher.to(device))


def away(bridge: nn.Module, rows: Tensor, teacher: Tensor | None) -> Tensor:
    """mean(1 - cos(A e, t)) of unit rows [b, d] and templates [b, T]; A is `bridge`.

    Raises ValueError where the batch brings no templates.
    """
    if teacher is None:
        raise ValueError("distillation needs the teacher's templates in every batch")
    return (1.0 - (unit_rows(bridge(rows)) * teacher).sum(dim=1)).mean()


class Distil(Task[TaughtBatch]):
    """mean(1 - cos(A e, t)) + `pairwise` x mean squared error of all similarities within the batch.

    A [T, d] brings the student's dimension to the teacher's and is thrown away afterwards; the second
    term needs no A, so that scores of the student mean what the teacher's do.
    """

    def __init__(self, encoder: nn.Module, *, dimension: int, teacher: int, pairwise: float = 5.0) -> None:
        super().__init__(encoder, bn_mode="separate")
        self.pairwise = pairwise
        self.bridge = nn.Linear(dimension, teacher, bias=False)

    def forward(self, batch: TaughtBatch) -> Outcome:
        rows = unit_rows(self.encoder(batch.images))
        far = away(self.bridge, rows, batch.teacher)
        pairs = (cosines(rows, rows) - cosines(batch.teacher, batch.teacher)).square().mean()
        parts = {"away": far.detach(), "pairs": pairs.detach()}
        return Outcome(far + self.pairwise * pairs, {Spectrum.VIS: rows}, parts)


class Distilled(PairTask):
    """Another task plus `weight` x mean(1 - cos(A p(x), t)) over both spectra's photos of the batch.

    An imported network whose file has the teacher's dimension starts as its teacher: A then leads back to
    the file's own output. By chance it would pull away everything that the network knows.
    """

    def __init__(self, task: PairTask, *, dimension: int, teacher: int, weight: float) -> None:
        super().__init__(task.encoder, bn_mode=task.bn_mode)
        self.task, self.weight = task, weight
        self.bridge = nn.Linear(dimension, teacher, bias=False)
        if isinstance(task.encoder, ImportedNet) and task.encoder.config.width == teacher:
            with torch.no_grad():
                self.bridge.weight.copy_(task.encoder.homeward())

    def forward(self, batch: PairBatch) -> Outcome:
        """Raises ValueError where the batch brings no templates."""
        outcome = self.task(batch)
        each = [away(self.bridge, rows, batch.teacher) for rows in outcome.embeddings.values()]
        far = torch.stack(each).mean()
        parts = {**outcome.parts, "away": far.detach()}
        return Outcome(outcome.loss + self.weight * far, outcome.embeddings, parts, outcome.carry)

    def after_step(self, batch: PairBatch, outcome: Outcome) -> None:
        self.task.after_step(batch, outcome)

    def groups(self, lr: float) -> list[dict[str, Any]]:
        return [*self.task.groups(lr), {"params": list(self.bridge.parameters()), "lr": lr * 10}]
