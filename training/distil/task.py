"""Distils templates, similarities and feature maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from faces.types import Spectrum
from training.distil.batches import MapBatch, map_values
from training.distil.teacher_maps import seen_columns
from training.engine.task import Outcome, Task
from training.methods.distillation import cosine_distance
from training.methods.losses import cosines
from training.networks.ir import IrNet
from training.networks.layers import unit_rows


class Staged(nn.Module):
    """A network that also returns the maps at the end of some of its stages."""

    def __init__(self, net: IrNet, stages: tuple[int, ...]) -> None:
        super().__init__()
        self.net, self._at = net, tuple(net.ends[stage] for stage in stages)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = []
        for i, layer in enumerate(self.net.trunk):
            x = layer(x)
            if i in self._at:
                maps.append(x)
        return self.net.head(x), maps


class MapDistil(Task[MapBatch]):
    """mean(1 - cos(A e, t)) + `pairwise` x mean squared error of all similarities within the batch
    + `maps` x mean squared error of B_s m_s against the teacher's map, for each stage s.

    A [T, d] and the 1x1 convolutions B_s are dropped after training.
    """

    def __init__(
        self,
        net: IrNet,
        *,
        stages: tuple[int, ...],
        teacher: int,
        channels: tuple[int, ...],
        columns: tuple[int, int] | None,
        pairwise: float,
        maps: float,
    ) -> None:
        """`channels`: of each stage's target; `columns`: those of the crop that the teacher sees."""
        super().__init__(net, bn_mode="separate")
        self.pairwise, self.maps = pairwise, maps
        self.bridge = nn.Linear(net.dimension, teacher, bias=False)
        ends = [net.channels[stage] for stage in stages]
        self.reads = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(ends, channels, strict=True))
        for i, stage in enumerate(stages):
            seen = seen_columns(net.side_px >> (stage + 1), image_px=net.side_px, columns=columns)
            self.register_buffer(f"seen{i}", seen, persistent=False)
        # In a list, so that it is no submodule: its weights are the encoder's.
        self._staged = [Staged(net, stages)]

    @property
    def staged(self) -> Staged:
        return self._staged[0]

    def forward(self, batch: MapBatch) -> Outcome:
        made, maps = self.staged(batch.images)
        rows = unit_rows(made)  # [B, d]
        distance = cosine_distance(self.bridge, rows, batch.teacher)  # scalar
        pairs = (cosines(rows, rows) - cosines(batch.teacher, batch.teacher)).square().mean()
        errors = [
            self._error(i, one, target) for i, (one, target) in enumerate(zip(maps, batch.maps, strict=True))
        ]
        total = distance + self.pairwise * pairs + self.maps * torch.stack(errors).sum()
        parts = {"away": distance.detach(), "pairs": pairs.detach()}
        parts |= {f"map{i}": error.detach() for i, error in enumerate(errors)}
        clean = len(batch.maps[0])
        with torch.no_grad():
            parts["away_clean"] = cosine_distance(self.bridge, rows[:clean], batch.teacher[:clean])
        return Outcome(total, {Spectrum.VIS: rows}, parts)

    def _error(self, i: int, made: Tensor, target: Tensor) -> Tensor:
        """The mean squared error in units of the teacher's spread, over the columns that it sees."""
        seen: Tensor = getattr(self, f"seen{i}")
        read = self.reads[i](made[: len(target)]).float()
        error = functional.mse_loss(read, map_values(target), reduction="none")
        return (error * seen).mean() / seen.mean()
