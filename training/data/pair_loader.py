"""Reads the crops of each batch of pairs, augments them and makes tensors of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.augment import augment
from training.data.batches import PairBatch
from training.data.network_input import network_input
from training.data.pairs import PairRequest, PairSampler
from training.data.prepared import PreparedSet


class PairLoader:
    """Batches of pairs for a task. `teacher`: templates [rows, T] by row of the set, or None."""

    def __init__(
        self,
        prepared: PreparedSet,
        sampler: PairSampler,
        *,
        side_px: int,
        teacher: NDArray[np.float32] | None = None,
    ) -> None:
        self.prepared, self._sampler, self._side, self._teacher = prepared, sampler, side_px, teacher

    def requests(self, start: int) -> Iterator[tuple[PairRequest, ...]]:
        """The rows of each batch."""
        return self._sampler.batches(start)

    def nir_input(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the NIR images [B, 3, s, s] unchanged; controls override it."""
        return images

    def batches(self, start: int = 0) -> Iterator[PairBatch]:
        """Endless batches; an image's augmentation depends on seed, iteration and position alone."""
        for iteration, pairs in enumerate(self.requests(start), start):
            rng = np.random.default_rng([self._sampler.seed, iteration, 1])
            nir = self.nir_input(network_input(self.prepared.crops([p.nir for p in pairs]), self._side))
            vis = network_input(self.prepared.crops([p.vis for p in pairs]), self._side)
            templates = None
            if self._teacher is not None:
                templates = torch.from_numpy(self._teacher[[p.vis for p in pairs]])
            yield PairBatch(
                iteration=iteration,
                nir=augment(nir, rng),
                vis=augment(vis, rng),
                identity=torch.tensor([p.label for p in pairs]),
                teacher=templates,
            )
