"""Plain fine-tuning, the paper's baseline: classifies both spectra over all training subjects.

`plain` starts its head at random weights, as the paper does. `plain+` starts it at the class means and
multiplies its learning rate by ten, so that the head does not weaken the baseline (docs/hsst.md, 3.10).
Triplet loss needs no head.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from faces.strict import Strict
from faces.types import Spectrum
from training.data.batches import PairBatch
from training.engine.task import Outcome
from training.methods.losses import LossConfig, cosines, per_sample
from training.methods.pair_task import PairTask
from training.networks.layers import BnMode, unit_rows


class PlainConfig(Strict):
    """`head_lr`: the head's learning rate divided by the network's (1 in `plain`, 10 in `plain+`)."""

    kind: Literal["plain"] = "plain"
    loss: LossConfig = LossConfig()
    class_means: bool = False
    head_lr: Annotated[float, Field(gt=0)] = 1.0
    bn_mode: BnMode = "separate"


class Head(nn.Module):
    """Unit class weights [classes, dimension]; unit rows [b, d] -> cosines [b, classes]."""

    def __init__(self, classes: int, dimension: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, dimension) / dimension**0.5)  # [classes, dimension]

    def forward(self, rows: Tensor) -> Tensor:
        return cosines(rows, unit_rows(self.weight))

    @torch.no_grad()
    def start_at(self, means: Tensor) -> None:
        """Sets the weights to class means [classes, dimension]."""
        self.weight.copy_(unit_rows(means))


class Plain(PairTask):
    """Classification of every photo of the batch, or triplets within it."""

    def __init__(self, encoder: nn.Module, config: PlainConfig, *, dimension: int, classes: int) -> None:
        super().__init__(encoder, bn_mode=config.bn_mode)
        self.config = config
        self.head = None if config.loss.name == "triplet" else Head(classes, dimension)

    def start_at(self, means: Tensor) -> None:
        """Sets the head's weights to the class means [classes, dimension]."""
        if self.head is not None:
            self.head.start_at(means)

    def forward(self, batch: PairBatch) -> Outcome:
        rows = self.embed_pair(self.encoder, batch)  # [B, d] each
        losses = [self._one(rows, spectrum, batch.identity).mean() for spectrum in rows]  # scalars
        return Outcome(torch.stack(losses).mean(), rows)

    def _one(self, rows: dict[Spectrum, Tensor], spectrum: Spectrum, identity: Tensor) -> Tensor:
        """The loss [B] of one spectrum's rows."""
        if self.head is not None:
            cosine = self.head(rows[spectrum])  # [B, classes]
            return per_sample(cosine, identity, torch.ones_like(cosine, dtype=torch.bool), self.config.loss)
        return in_batch(rows, spectrum, identity, self.config.loss)

    def groups(self, lr: float) -> list[dict[str, Any]]:
        heads = [] if self.head is None else list(self.head.parameters())
        own = {id(p) for p in heads}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in own]
        extra = [{"params": heads, "lr": lr * self.config.head_lr}] if heads else []
        return [{"params": rest, "lr": lr}, *extra]


def in_batch(rows: dict[Spectrum, Tensor], spectrum: Spectrum, identity: Tensor, loss: LossConfig) -> Tensor:
    """The loss [B] of a spectrum's rows [B, d] among the other's; the own subject's row is the positive."""
    other = rows[Spectrum.VIS if spectrum is Spectrum.NIR else Spectrum.NIR]  # [B, d]
    target = torch.arange(len(identity), device=identity.device)  # [B]
    allowed = identity[None, :] != identity[:, None]  # [B, B]
    allowed = allowed.scatter(1, target[:, None], True)  # [B, B]
    return per_sample(cosines(rows[spectrum], other), target, allowed, loss)
