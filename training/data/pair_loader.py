"""Reads the crops of each batch of pairs, augments them and makes tensors of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.augment import NORMAL, Augmentation, augment, moved
from training.data.batches import PairBatch
from training.data.network_input import network_input
from training.data.pairs import PairRequest, PairSampler
from training.data.prepared import PreparedSet


class PairLoader:
    """Batches of pairs for a task. `teacher`: templates [rows, T] by row of the set, or None.

    Both images of a pair are augmented, each by its own draws.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        sampler: PairSampler,
        *,
        side_px: int,
        teacher: NDArray[np.float32] | None = None,
        augmentation: Augmentation = NORMAL,
    ) -> None:
        self.prepared, self._sampler, self._side, self._teacher = prepared, sampler, side_px, teacher
        self._augmentation = augmentation

    def requests(self, start: int) -> Iterator[tuple[PairRequest, ...]]:
        """The rows of each batch."""
        return self._sampler.batches(start)

    def nir_input(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the NIR images [B, 3, s, s] unchanged; controls override it."""
        return images

    def _input(self, rows: list[int], rng: np.random.Generator) -> torch.Tensor:
        crops = moved(self.prepared.crops(rows), rng, self._augmentation)
        return network_input(crops, self._side)

    def batches(self, start: int = 0) -> Iterator[PairBatch]:
        """Endless batches; an image's augmentation depends on seed, iteration and position alone."""
        for iteration, pairs in enumerate(self.requests(start), start):
            rng = np.random.default_rng([self._sampler.seed, iteration, 1])
            nir = self.nir_input(self._input([p.nir for p in pairs], rng))
            vis = self._input([p.vis for p in pairs], rng)
            templates = None
            if self._teacher is not None:
                templates = torch.from_numpy(self._teacher[[p.vis for p in pairs]])
            yield PairBatch(
                iteration=iteration,
                nir=augment(nir, rng, self._augmentation),
                vis=augment(vis, rng, self._augmentation),
                identity=torch.tensor([p.label for p in pairs]),
                teacher=templates,
            )
