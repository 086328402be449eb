"""What the loop knows of a method: a loss on a batch of pairs, and what to do after the step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from faces.types import Spectrum
from training.networks.layers import BnMode, route, set_bn_mode


class Batch(Protocol):
    """Anything a task learns from in one step."""

    @property
    def iteration(self) -> int: ...

    def to(self, device: torch.device) -> Self: ...


BatchT = TypeVar("BatchT", bound=Batch)


@dataclass(frozen=True, eq=False)
class PairBatch:
    """B different subjects, two photos of each.

    `nir`, `vis`: [B, 3, side, side] in [-1, 1]; `identity`: int64 [B], the training label;
    `teacher`: [B, T] unit templates of the unmasked VIS photos, where a task distils.
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


@dataclass(frozen=True, eq=False)
class Outcome:
    """A scalar loss with its parts (detached scalars, for the log) and what `after_step` needs.

    `embeddings`: what the network made of each spectrum, unit rows with gradient.
    """

    loss: Tensor
    embeddings: Mapping[Spectrum, Tensor]
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    carry: Mapping[Spectrum, Tensor] = field(default_factory=dict)


class Task(nn.Module, Generic[BatchT]):
    """One method. `forward` is pure but for the running statistics of normalisation layers; whatever
    else changes does so in `after_step`. `encoder` is what is used at test time."""

    def __init__(self, encoder: nn.Module, *, bn_mode: BnMode) -> None:
        super().__init__()
        self.encoder = encoder
        self.bn_mode: BnMode = bn_mode
        set_bn_mode(encoder, bn_mode)

    def forward(self, batch: BatchT) -> Outcome:
        raise TypeError(f"{type(self).__name__} defines no loss for iteration {batch.iteration}")

    def after_step(self, batch: BatchT, outcome: Outcome) -> None:
        """Enqueue, move averages: after the optimiser's step."""

    def groups(self, lr: float) -> list[dict[str, Any]]:
        """Parameter groups of the optimiser."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "lr": lr}]


class PairTask(Task[PairBatch]):
    """A task on pairs of one NIR and one VIS photo."""

    def both(self, net: nn.Module, batch: PairBatch) -> dict[Spectrum, Tensor]:
        """Both spectra through a network, as the normalisation mode says -> unit rows [B, d] each."""
        if self.bn_mode == "joint":
            rows = unit(net(torch.cat([batch.nir, batch.vis])))
            nir, vis = rows.chunk(2)
            return {Spectrum.NIR: nir, Spectrum.VIS: vis}
        done = {}
        for spectrum, images in ((Spectrum.NIR, batch.nir), (Spectrum.VIS, batch.vis)):
            with route(net, spectrum):
                done[spectrum] = unit(net(images))
        return done


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, ema: float) -> None:
    """slow = ema slow + (1 - ema) fast, for parameters; statistics stay each network's own."""
    for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
        old.lerp_(new, 1.0 - ema)


def coin(seed: int, iteration: int) -> torch.Generator:
    """Chance that a resumed run draws again: it depends on seed and iteration alone."""
    return torch.Generator().manual_seed(seed * 1_000_003 + iteration)


def unit(rows: Tensor) -> Tensor:
    """Rows of unit norm, in float32 whatever the network computed in."""
    return functional.normalize(rows.float(), dim=1)
