"""SST: semi-siamese training (arXiv 2007.08398), HSST's ancestor with one queue for all spectra."""

from __future__ import annotations

import copy
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
from training.methods.losses import LossConfig, cosines, per_sample
from training.methods.pair_task import PairTask
from training.methods.prototypes import PrototypeQueues
from training.networks.layers import BnMode

# The one queue's name; what it holds is of either spectrum.
MIXED = Spectrum.VIS


class SstConfig(Strict):
    """`queue`: K; `ema`: weight of the old gallery-net."""

    kind: Literal["sst"] = "sst"
    loss: LossConfig = LossConfig()
    queue: Annotated[int, Field(gt=0)] = 128
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    bn_mode: BnMode = "separate"


class Sst(PairTask):
    """p of one photo among g of others, both ways; then one spectrum's g, drawn by generator, is kept."""

    def __init__(
        self, encoder: nn.Module, config: SstConfig, *, dimension: int, batch: int, seed: int
    ) -> None:
        super().__init__(encoder, bn_mode=config.bn_mode)
        self.config, self.seed = config, seed
        self.gallery = copy.deepcopy(encoder).requires_grad_(False)
        self.queues = PrototypeQueues(size=config.queue, batch=batch, dimension=dimension, spectra=(MIXED,))

    def forward(self, batch: PairBatch) -> Outcome:
        identity = gather_rows(batch.identity)
        # Before p, whose activations stay: the memory that g lets go is used again.
        with torch.no_grad():
            prototype = {s: gather_rows(rows) for s, rows in self.embed_pair(self.gallery, batch).items()}
        probe = self.embed_pair(self.encoder, batch)
        nv = self._among(probe[Spectrum.NIR], prototype[Spectrum.VIS], identity)
        vn = self._among(probe[Spectrum.VIS], prototype[Spectrum.NIR], identity)
        return Outcome((nv + vn) / 2, probe, {}, prototype)

    def _among(self, rows: Tensor, positives: Tensor, identity: Tensor) -> Tensor:
        mine = slice(rank() * len(rows), (rank() + 1) * len(rows))
        cosine = cosines(rows, self.queues.with_positives(MIXED, positives))
        allowed = self.queues.allowed(identity)[mine]
        return per_sample(cosine, self.queues.slots()[mine], allowed, self.config.loss).mean()

    @torch.no_grad()
    def after_step(self, batch: PairBatch, outcome: Outcome) -> None:
        ema_update(self.gallery, self.encoder, self.config.ema)
        generator = step_generator(self.seed, batch.iteration)
        kept = Spectrum.NIR if torch.rand((), generator=generator) < 0.5 else Spectrum.VIS
        self.queues.enqueue({MIXED: outcome.carry[kept]}, gather_rows(batch.identity))
