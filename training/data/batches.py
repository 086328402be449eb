"""Batches that tasks learn from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PairBatch:
    """B different subjects, two photos of each.

    `nir`, `vis`: float32 [B, 3, side, side] in [-1, 1]; `identity`: int64 [B], the training label;
    `teacher`: float32 [B, T], unit templates of the unmasked VIS photos, if the task distils.
    """

    iteration: int
    nir: Tensor
    vis: Tensor
    identity: Tensor
    teacher: Tensor | None = None

    def to(self, device: torch.device) -> PairBatch:
        moved = {
            name: None if value is None else value.to(device, non_blocking=True)
            for name, value in (
                ("nir", self.nir),
                ("vis", self.vis),
                ("identity", self.identity),
                ("teacher", self.teacher),
            )
        }
        return PairBatch(self.iteration, **moved)  # type: ignore[arg-type]
