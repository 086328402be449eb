"""Reads the crops of each batch of pairs, augments them and makes tensors of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from faces.types import Spectrum
from training.data.augment import NORMAL, Augmentation, augment, in_grey, moved
from training.data.batches import PairBatch
from training.data.network_input import network_input
from training.data.pairs import PairRequest, PairSampler
from training.data.prepared import PreparedSet
from training.data.records import DataSetError


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


class GreyPairLoader(PairLoader):
    """Gives the VIS photo of the same source, in grey, in place of the NIR photo.

    Raises DataSetError if a NIR photo has no VIS photo of its source, as only pseudo-NIR has.
    """

    def requests(self, start: int) -> Iterator[tuple[PairRequest, ...]]:
        by_source = {
            row.source: i
            for i, row in enumerate(self.prepared.rows)
            if row.spectrum is Spectrum.VIS and not row.masked
        }
        for pairs in super().requests(start):
            yield tuple(PairRequest(p.label, self._twin(by_source, p.nir), p.vis) for p in pairs)

    def _twin(self, by_source: Mapping[str, int], nir: int) -> int:
        source = self.prepared.rows[nir].source
        if source not in by_source:
            raise DataSetError(f"{source} has no VIS photo of its own: grey_probes is for pseudo-NIR")
        return by_source[source]

    def nir_input(self, images: torch.Tensor) -> torch.Tensor:
        return in_grey(images)
