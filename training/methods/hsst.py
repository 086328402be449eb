"""HSST: heterogeneous semi-siamese training (Du et al., IEEE SPL 2021, arXiv 2104.06761).

The probe-net p learns by gradient; the gallery-net g is its moving average. The loss classifies p(NIR)
among VIS prototypes g(VIS), and p(VIS) among NIR prototypes g(NIR). `docs/hsst.md` states the method.
"""

from __future__ import annotations

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
from training.methods.gallery_net import gallery_net
from training.methods.losses import LossConfig, cosines, per_sample
from training.methods.pair_task import PairTask
from training.methods.prototypes import PrototypeQueues, among
from training.networks.layers import BnMode

Direction = Literal["both", "random_batch", "random_pair", "nv", "vn"]


class HsstConfig(Strict):
    """What the paper leaves open; the defaults are the decisions of docs/hsst.md, section 3.

    `queue`: K; `ema`: weight of the old gallery-net; `positive_slot`: `overwrite` puts the positive into
    the queue's next slot, `extra` beside all K columns, as equation (2) says literally.
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
    """Probe-net `encoder`, gallery-net and prototype queues.

    `batch`: subjects of one step over all processes.
    """

    def __init__(
        self, encoder: nn.Module, config: HsstConfig, *, dimension: int, batch: int, seed: int
    ) -> None:
        super().__init__(encoder, bn_mode=config.bn_mode)
        self.config, self.seed = config, seed
        self.gallery = gallery_net(encoder)
        self.queues = PrototypeQueues(
            size=config.queue, batch=batch, dimension=dimension, spectra=(Spectrum.VIS, Spectrum.NIR)
        )

    def forward(self, batch: PairBatch) -> Outcome:
        """The mean of equation (2) in both directions, as equation (b) says.

        Raises QueueError if a subject of the batch is still a negative in the queue and `on_same_id` is
        `error`. B: subjects of the whole step; b: those of this process.
        """
        identity = gather_rows(batch.identity)  # int64 [B]
        self._refuse_kept(identity)
        # g runs before p, whose activations stay: p reuses the memory that g frees.
        with torch.no_grad():
            rows = self.embed_pair(self.gallery, batch)  # [b, d] each
            prototype = {s: gather_rows(r) for s, r in rows.items()}  # [B, d] each
        probe = self.embed_pair(self.encoder, batch)  # [b, d] each, with gradient
        nv = self._direction(probe[Spectrum.NIR], Spectrum.VIS, prototype[Spectrum.VIS], identity)  # [b]
        vn = self._direction(probe[Spectrum.VIS], Spectrum.NIR, prototype[Spectrum.NIR], identity)  # [b]
        loss = self._mean(nv, vn, batch.iteration)
        parts = {"nir_to_vis": nv.detach().mean(), "vis_to_nir": vn.detach().mean()}
        return Outcome(loss, probe, parts, prototype)

    def _direction(self, rows: Tensor, spectrum: Spectrum, positives: Tensor, identity: Tensor) -> Tensor:
        """The loss [b] of rows [b, d] among a spectrum's prototypes: equation (2).

        `positives` [B, d] and `identity` [B] are those of the whole step.
        """
        mine = slice(rank() * len(rows), (rank() + 1) * len(rows))
        if self.config.positive_slot == "extra":
            other = self.queues.ids[None, :] != identity[mine, None]  # [b, K]
            kept = other & self.queues.filled[None, :]  # [b, K]
            negatives = cosines(rows, self.queues.rows(spectrum))  # [b, K]
            own = cosines(rows, positives[mine]).diagonal()[:, None]  # [b, 1]
            cosine = torch.cat([own, negatives], dim=1)  # [b, 1 + K]
            allowed = torch.cat([torch.ones_like(kept[:, :1]), kept], dim=1)  # [b, 1 + K]
            target = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)  # [b]
            return per_sample(cosine, target, allowed, self.config.loss)
        return among(self.queues, rows, spectrum, positives, identity, self.config.loss, mine)

    def _mean(self, nv: Tensor, vn: Tensor, iteration: int) -> Tensor:
        """Equation (b), or one direction, from the losses [b] of each row in both directions."""
        match self.config.direction:
            case "both":
                return (nv.mean() + vn.mean()) / 2
            case "nv":
                return nv.mean()
            case "vn":
                return vn.mean()
            case "random_batch" | "random_pair" as how:
                generator = step_generator(self.seed, iteration)
                draws = torch.rand(1 if how == "random_batch" else len(nv), generator=generator)  # [1] or [b]
                return torch.where((draws < 0.5).to(nv.device), nv, vn).mean()

    def _refuse_kept(self, identity: Tensor) -> None:
        """Checks what the sampler promises: no subject of the batch [B] is a negative that stays."""
        if self.config.on_same_id == "mask":
            return
        again = identity[torch.isin(identity, self.queues.kept_ids())]  # [number of such subjects]
        if len(again) or len(torch.unique(identity)) != len(identity):
            raise QueueError(
                "a subject of the batch is still a negative in the queue: sample subjects that are not in"
                " `kept_ids`, choose a smaller queue, or set on_same_id = 'mask'"
            )

    @torch.no_grad()
    def after_step(self, batch: PairBatch, outcome: Outcome) -> None:
        """Equation (c) for parameters; then the batch's prototypes, from the old g, enter the queues."""
        ema_update(self.gallery, self.encoder, self.config.ema)
        self.queues.enqueue(dict(outcome.carry), gather_rows(batch.identity))
