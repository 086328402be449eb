"""What the loop knows of a method: a loss on a batch, and what happens after the optimiser's step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from faces.types import Spectrum
from training.networks.layers import BnMode, set_bn_mode


class Batch(Protocol):
    """Anything a task learns from in one step."""

    @property
    def iteration(self) -> int: ...

    def to(self, device: torch.device) -> Self: ...


BatchT = TypeVar("BatchT", bound=Batch)


@dataclass(frozen=True, eq=False)
class Outcome:
    """A scalar loss, its parts (detached scalars, for the log) and what `after_step` needs.

    `embeddings`: unit rows [B, d] of each spectrum, with gradient; `carry`: tensors for `after_step`.
    """

    loss: Tensor
    embeddings: Mapping[Spectrum, Tensor]
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    carry: Mapping[Spectrum, Tensor] = field(default_factory=dict)


class Task(nn.Module, Generic[BatchT]):
    """One method.

    `forward` changes nothing but the running statistics of normalisation layers; everything else that
    changes does so in `after_step`. Inference uses `encoder` alone.
    """

    def __init__(self, encoder: nn.Module, *, bn_mode: BnMode) -> None:
        super().__init__()
        self.encoder = encoder
        self.bn_mode: BnMode = bn_mode
        set_bn_mode(encoder, bn_mode)

    def forward(self, batch: BatchT) -> Outcome:
        raise TypeError(f"{type(self).__name__} defines no loss for iteration {batch.iteration}")

    def after_step(self, batch: BatchT, outcome: Outcome) -> None:
        """Enqueues prototypes and updates averages; the loop calls it after the optimiser's step."""

    def groups(self, lr: float) -> list[dict[str, Any]]:
        """Parameter groups of the optimiser."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "lr": lr}]


def step_generator(seed: int, iteration: int) -> torch.Generator:
    """Random numbers of one step; they depend on seed and iteration alone: a resumed run draws the same."""
    return torch.Generator().manual_seed(seed * 1_000_003 + iteration)
