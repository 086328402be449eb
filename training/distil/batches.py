"""Batches for the built-in embedder: labelled clean views, and photos in harder conditions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from faces.types import Spectrum
from training.data.network_input import network_input
from training.data.prepared import Indices, PreparedSet
from training.data.records import DataSetError
from training.distil.clean_views import Views, moved
from training.distil.labels import PART_VIEWS, STEPS, Labels
from training.distil.recipe import ViewsConfig
from training.synthesis.relighting import toned


@dataclass(frozen=True, eq=False)
class MapBatch:
    """`images` [B, 3, s, s] in [-1, 1]; `teacher` [B, T] unit templates; `maps` of the first c views, int8
    [c, channels, side, side] in sixteenths of a channel's spread, for each of the student's stages."""

    iteration: int
    images: Tensor
    teacher: Tensor
    maps: tuple[Tensor, ...]

    def to(self, device: torch.device) -> MapBatch:
        maps = tuple(one.to(device) for one in self.maps)
        return MapBatch(self.iteration, self.images.to(device), self.teacher.to(device), maps)


def plain_rows(prepared: PreparedSet) -> Indices:
    """Rows of unmasked VIS crops, one for each photo."""
    return prepared.select(spectrum=Spectrum.VIS, masked=False, split="train")


@dataclass(frozen=True, slots=True, eq=False)
class Harder:
    """`rows` [n]: masked or pseudo-NIR crops of the set; `photo` [n]: index of each among the plain ones."""

    rows: Indices
    photo: Indices

    @classmethod
    def of(cls, prepared: PreparedSet, plain: Indices) -> Harder:
        """The harder crops of a set. Raises DataSetError if it has none."""
        place = {prepared.rows[int(row)].source: i for i, row in enumerate(plain)}
        chosen = [
            (i, place[row.source])
            for i, row in enumerate(prepared.rows)
            if row.split == "train" and (row.masked or row.spectrum is Spectrum.NIR)
        ]
        if not chosen:
            raise DataSetError(f"{prepared.info.name} has neither masked nor pseudo-NIR crops")
        rows, photos = np.array(chosen, np.int64).T
        return cls(rows, photos)


class DistilBatches:
    """Endless batches; each depends on seed and iteration alone."""

    def __init__(
        self, views: Views, harder: Harder, labels: list[Labels], config: ViewsConfig, *, seed: int
    ) -> None:
        """Raises DataSetError if any photo or its mirror image has no label."""
        self.views, self.harder, self.config, self._seed = views, harder, config, seed
        self._labels, self.count = labels, len(labels) * PART_VIEWS
        if self.count < 2 * len(views.plain):
            raise DataSetError(f"{2 * len(views.plain)} views want labels, {self.count} have them")

    def batch(self, iteration: int) -> MapBatch:
        rng = np.random.default_rng([self._seed, iteration])
        clean = round(self.config.batch * self.config.clean)
        numbers = rng.integers(self.count, size=clean)
        others = rng.integers(len(self.harder.rows), size=self.config.batch - clean)
        grey, lit = self.config.grey, self.config.lit
        pictures = [toned(self.views.view(int(i)), rng, grey=grey, lit=lit) for i in numbers]
        targets = list(numbers)
        for i in others:
            mirrored = bool(rng.random() < 0.5)
            crop = self.views.shards.crop(int(self.harder.rows[i]))
            crop = np.ascontiguousarray(crop[:, ::-1]) if mirrored else crop
            pictures.append(toned(moved(crop, rng, extent=self.config.moved), rng, grey=0.1, lit=lit))
            targets.append(self.views.place(int(self.harder.photo[i]), mirrored=mirrored))
        templates = np.stack([self._at(i).templates[i % PART_VIEWS] for i in targets])
        stages = range(len(self._labels[0].maps))
        maps = [np.stack([self._at(i).maps[s][i % PART_VIEWS] for i in numbers]) for s in stages]
        return MapBatch(
            iteration,
            network_input(np.stack(pictures), pictures[0].shape[0]),
            torch.from_numpy(templates),
            tuple(torch.from_numpy(one) for one in maps),
        )

    def _at(self, number: int) -> Labels:
        return self._labels[number // PART_VIEWS]

    def batches(self, start: int) -> Iterator[MapBatch]:
        """Batches from iteration `start` on."""
        iteration = start
        while True:
            yield self.batch(iteration)
            iteration += 1


def map_values(stored: Tensor) -> Tensor:
    """Converts the bytes of a map to units of a channel's spread."""
    return stored.float() / STEPS
