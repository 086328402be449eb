"""A task on pairs of one NIR and one VIS photo of the same subject."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from faces.types import Spectrum
from training.data.batches import PairBatch
from training.engine.task import Task
from training.networks.layers import route, unit_rows


class PairTask(Task[PairBatch]):
    """The base of every method that learns from pairs."""

    def embed_pair(self, net: nn.Module, batch: PairBatch) -> dict[Spectrum, Tensor]:
        """Embeds both spectra as the normalisation mode says: unit rows [B, d] of each.

        In `joint` mode one forward pass normalises both spectra by common statistics; otherwise each
        spectrum passes alone (docs/hsst.md, section 4).
        """
        if self.bn_mode == "joint":
            images = torch.cat([batch.nir, batch.vis])  # [2 B, 3, side, side]
            nir, vis = unit_rows(net(images)).chunk(2)  # [B, d] each
            return {Spectrum.NIR: nir, Spectrum.VIS: vis}
        rows = {}
        for spectrum, images in ((Spectrum.NIR, batch.nir), (Spectrum.VIS, batch.vis)):
            with route(net, spectrum):
                rows[spectrum] = unit_rows(net(images))  # [B, d]
        return rows
