"""SST: semi-siamese training (arXiv 2007.08398), the ancestor of HSST, with one queue for all spectra."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from faces.strict import Strict
from faces.types import Spectrum
from training.data.batches import PairBatch
from training.engine.distributed import gather_rows, rank
from training.engine.ema import ema_update
from training.engine.task import Outcome, step_generator
from training.methods.gallery_net import gallery_net
from training.methods.losses import LossConfig
from training.methods.pair_task import PairTask
from training.methods.prototypes import PrototypeQueues, among
from training.networks.layers import BnMode

# Names the one queue, which holds prototypes of either spectrum.
MIXED = Spectrum.VIS


class SstConfig(Strict):
    """`queue`: K; `ema`: weight of the old gallery-net."""

    kind: Literal["sst"] = "sst"
    loss: LossConfig = LossConfig()
    queue: Annotated[int, Field(gt=0)] = 128
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    bn_mode: BnMode = "separate"


class Sst(PairTask):
    """Classifies p of each photo among g of others, in both directions.

    After the step, g of one spectrum, which a draw chooses, enters the queue.
    """

    def __init__(
        self, encoder: nn.Module, config: SstConfig, *, dimension: int, batch: int, seed: int
    ) -> None:
        super().__init__(encoder, bn_mode=config.bn_mode)
        self.config, self.seed = config, seed
        self.gallery = gallery_net(encoder)
        self.queues = PrototypeQueues(size=config.queue, batch=batch, dimension=dimension, spectra=(MIXED,))

    def forward(self, batch: PairBatch) -> Outcome:
        """The mean loss of both directions. B: subjects of the whole step; b: those of this process."""
        identity = gather_rows(batch.identity)  # int64 [B]
        # g runs before p, whose activations stay: p reuses the memory that g frees.
        with torch.no_grad():
            rows = self.embed_pair(self.gallery, batch)  # [b, d] each
            prototype = {s: gather_rows(r) for s, r in rows.items()}  # [B, d] each
        probe = self.embed_pair(self.encoder, batch)  # [b, d] each, with gradient
        nv = self._among(probe[Spectrum.NIR], prototype[Spectrum.VIS], identity)  # scalar
        vn = self._among(probe[Spectrum.VIS], prototype[Spectrum.NIR], identity)  # scalar
        return Outcome((nv + vn) / 2, probe, {}, prototype)

    def _among(self, rows: Tensor, positives: Tensor, identity: Tensor) -> Tensor:
        """The mean loss of rows [b, d] among the queue with positives [B, d] in its next slots."""
        mine = slice(rank() * len(rows), (rank() + 1) * len(rows))
        return among(self.queues, rows, MIXED, positives, identity, self.config.loss, mine).mean()

    @torch.no_grad()
    def after_step(self, batch: PairBatch, outcome: Outcome) -> None:
        ema_update(self.gallery, self.encoder, self.config.ema)
        generator = step_generator(self.seed, batch.iteration)
        kept = Spectrum.NIR if torch.rand((), generator=generator) < 0.5 else Spectrum.VIS
        self.queues.enqueue({MIXED: outcome.carry[kept]}, gather_rows(batch.identity))
