"""HSST: heterogeneous semi-siamese training (Du et al., IEEE SPL 2021, arXiv 2104.06761).

A probe-net p learns by gradient, a gallery-net g follows as its moving average. p of one spectrum is
told apart by g of the other: p(NIR) among VIS prototypes, p(VIS) among NIR prototypes.
"""

from __future__ import annotations

import copy
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from faces.strict import Strict
from faces.types import Spectrum
from training.data.batches import PairBatch
from training.data.pairs import QueueError
from training.engine.distributed import gather_rows, rank
from training.engine.ema import ema_update
from training.engine.task import Outcome, step_generator
from training.methods.losses import LossConfig, cosines, per_sample
from training.methods.pair_task import PairTask
from training.methods.prototypes import PrototypeQueues
from training.networks.layers import BnMode

Direction = Literal["both", "random_batch", "random_pair", "nv", "vn"]
OTHER = {Spectrum.NIR: Spectrum.VIS, Spectrum.VIS: Spectrum.NIR}


class HsstConfig(Strict):
    """Options of HSST.md's table of ambiguities; the defaults are its decisions.

    `queue`: K; `ema`: weight of the old gallery-net; `positive_slot`: `overwrite` puts the positive
    into the queue's next slot, `extra` beside all K columns (Eq. 2 read literally).
    """

    kind: Literal["hsst"] = "hsst"
    loss: LossConfig = LossConfig()
    queue: Annotated[int, Field(gt=0)] = 128
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    direction: Direction = "both"
    positive_slot: Literal["overwrite", "extra"] = "overwrite"
    on_same_id: Literal["error", "mask"] = "error"
    bn_mode: BnMode = "separate"


class Hsst(PairTask):
    """`batch`: subjects of one step over all processes."""

    def __init__(
        self, encoder: nn.Module, config: HsstConfig, *, dimension: int, batch: int, seed: int
    ) -> None:
        super().__init__(encoder, bn_mode=config.bn_mode)
        self.config, self.seed = config, seed
        self.gallery = copy.deepcopy(encoder).requires_grad_(False)
        self.queues = PrototypeQueues(
            size=config.queue, batch=batch, dimension=dimension, spectra=(Spectrum.VIS, Spectrum.NIR)
        )

    def forward(self, batch: PairBatch) -> Outcome:
        """Eq. 2 and 3 in both directions, averaged. Raises QueueError where a subject of the batch is
        still a negative in the queue and `on_same_id` is `error`."""
        identity = gather_rows(batch.identity)
        self._refuse_kept(identity)
        # Before p, whose activations stay: the memory that g lets go is used again.
        with torch.no_grad():
            prototype = {s: gather_rows(rows) for s, rows in self.embed_pair(self.gallery, batch).items()}
        probe = self.embed_pair(self.encoder, batch)
        nv = self._direction(probe[Spectrum.NIR], Spectrum.VIS, prototype[Spectrum.VIS], identity)
        vn = self._direction(probe[Spectrum.VIS], Spectrum.NIR, prototype[Spectrum.NIR], identity)
        loss = self._mean(nv, vn, batch.iteration)
        parts = {"nir_to_vis": nv.detach().mean(), "vis_to_nir": vn.detach().mean()}
        return Outcome(loss, probe, parts, prototype)

    def _direction(self, rows: Tensor, spectrum: Spectrum, positives: Tensor, identity: Tensor) -> Tensor:
        """Rows [b, d] among the prototypes of a spectrum, own positive at slot t -> loss of each, [b]."""
        mine = slice(rank() * len(rows), (rank() + 1) * len(rows))
        if self.config.positive_slot == "extra":
            kept = (self.queues.ids[None, :] != identity[mine, None]) & self.queues.filled[None, :]
            negatives = cosines(rows, self.queues.rows(spectrum))
            own = cosines(rows, positives[mine]).diagonal()[:, None]
            cosine = torch.cat([own, negatives], dim=1)
            allowed = torch.cat([torch.ones_like(kept[:, :1]), kept], dim=1)
            target = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
        else:
            cosine = cosines(rows, self.queues.with_positives(spectrum, positives))
            allowed = self.queues.allowed(identity)[mine]
            target = self.queues.slots()[mine]
        return per_sample(cosine, target, allowed, self.config.loss)

    def _mean(self, nv: Tensor, vn: Tensor, iteration: int) -> Tensor:
        match self.config.direction:
            case "both":
                return (nv.mean() + vn.mean()) / 2
            case "nv":
                return nv.mean()
            case "vn":
                return vn.mean()
            case "random_batch" | "random_pair" as how:
                generator = step_generator(self.seed, iteration)
                heads = torch.rand(1 if how == "random_batch" else len(nv), generator=generator) < 0.5
                return torch.where(heads.to(nv.device), nv, vn).mean()

    def _refuse_kept(self, identity: Tensor) -> None:
        """The sampler's promise stands beside its use: no subject of the batch is a kept negative."""
        if self.config.on_same_id == "mask":
            return
        again = identity[torch.isin(identity, self.queues.kept_ids())]
        if len(again) or len(torch.unique(identity)) != len(identity):
            raise QueueError(
                "a subject of the batch is still a negative in the queue: sample subjects that are not in"
                " `kept_ids`, choose a smaller queue, or set on_same_id = 'mask'"
            )

    @torch.no_grad()
    def after_step(self, batch: PairBatch, outcome: Outcome) -> None:
        """g = ema g + (1 - ema) p for parameters; the batch's prototypes, made before that, move in."""
        ema_update(self.gallery, self.encoder, self.config.ema)
        self.queues.enqueue(dict(outcome.carry), gather_rows(batch.identity))
