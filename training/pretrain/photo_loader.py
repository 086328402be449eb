"""Batches of labelled photos, masked, grey and mirrored by chance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.augment import Augmentation, augment
from training.data.network_input import network_input
from training.data.prepared import Indices
from training.data.records import DataSetError
from training.engine.distributed import rank, world_size
from training.pretrain.photos import NONE, Photos
from training.pretrain.recipe import FeedConfig
from training.pretrain.templates import Templates
from training.synthesis.simple import masked_vis

# The source of masks: rows of the set, or drawings over the landmarks.
Masks = Literal["none", "rows", "drawn"]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class LabelledBatch:
    """`images` [B, 3, side, side] in [-1, 1]; `label` int64 [B]; `teacher` [B, T] unit templates of the
    unmasked photos, if the task distils."""

    iteration: int
    images: Tensor
    label: Tensor
    teacher: Tensor | None = None

    def to(self, device: torch.device) -> LabelledBatch:
        teacher = None if self.teacher is None else self.teacher.to(device, non_blocking=True)
        images, label = (t.to(device, non_blocking=True) for t in (self.images, self.label))
        return LabelledBatch(self.iteration, images, label, teacher)


def masks_of(photos: Photos, p_mask: float) -> Masks:
    """The source of masks. Raises DataSetError if masks are wanted and the set has no source."""
    if not p_mask:
        return "none"
    if (photos.worn[photos.plain != NONE] != NONE).any():
        return "rows"
    if np.isnan(photos.landmarks[photos.plain != NONE]).any():
        raise DataSetError(
            f"{photos.info.name} has neither masked rows nor landmarks to draw masks over: prepare it with"
            " --masks all, or set feed.p_mask=0"
        )
    return "drawn"


class PhotoLoader:
    """Endless batches; each depends on seed, iteration and process alone, so a resumed run needs no state.

    The photos of a step do not depend on the number of processes; their augmentation does.
    """

    def __init__(
        self,
        photos: Photos,
        config: FeedConfig,
        *,
        side_px: int,
        seed: int,
        teacher: Templates | None = None,
    ) -> None:
        """Raises DataSetError if masks are wanted and have no source, or processes cannot share a batch."""
        if config.batch % world_size():
            raise DataSetError(f"a batch of {config.batch} cannot be shared by {world_size()} processes")
        self.photos, self.config, self.masks = photos, config, masks_of(photos, config.p_mask)
        self._side, self._seed, self._teacher = side_px, seed, teacher
        self._augmentation = Augmentation(grey=config.grey, mirror=config.mirror)
        self._by_subject = np.argsort(photos.label, kind="stable")
        self._count = np.bincount(photos.label)
        self._first = np.cumsum(self._count) - self._count
        self._shuffled = lru_cache(maxsize=4)(self._shuffle)

    def _shuffle(self, count: int, turn: int) -> Indices:
        return np.random.default_rng([self._seed, turn, 2]).permutation(count)

    def _in_turn(self, count: int, iteration: int) -> Indices:
        """Indices of one step: each index once, in a new order, before any repeats."""
        turn, at = np.divmod(np.arange(self.config.batch) + iteration * self.config.batch, count)
        return np.concatenate([self._shuffled(count, int(t))[at[turn == t]] for t in np.unique(turn)])

    def chosen(self, iteration: int) -> Indices:
        """Indices [batch] of the photos of one step over all processes."""
        if self.config.sampling == "photos":
            return self._in_turn(len(self.photos), iteration)
        subjects = self._in_turn(len(self.photos.subjects), iteration)
        rng = np.random.default_rng([self._seed, iteration, 0])
        which = (rng.random(len(subjects)) * self._count[subjects]).astype(np.int64)
        photos: Indices = self._by_subject[self._first[subjects] + which]
        return photos

    def batch(self, iteration: int) -> LabelledBatch:
        """This process's part of one step."""
        part = self.config.batch // world_size()
        mine = self.chosen(iteration)[rank() * part : (rank() + 1) * part]
        rng = np.random.default_rng([self._seed, iteration, 1, rank()])
        crops = self._seen(mine, rng)
        return LabelledBatch(
            iteration,
            augment(network_input(crops, self._side), rng, self._augmentation),
            torch.from_numpy(self.photos.label[mine]),
            None if self._teacher is None else torch.from_numpy(self._teacher.rows(mine)),
        )

    def _seen(self, mine: Indices, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Crops uint8 [b, side, side, 3], some with masks."""
        plain, worn = self.photos.plain[mine], self.photos.worn[mine]
        wanted = rng.random(len(mine)) < self.config.p_mask
        crops = self.photos.shards.crops(np.where((wanted & (worn != NONE)) | (plain == NONE), worn, plain))
        if self.masks == "drawn":
            for i in np.flatnonzero(wanted & (plain != NONE)):
                points = [(float(x), float(y)) for x, y in self.photos.landmarks[mine[i]]]
                crops[i] = masked_vis(crops[i], points, rng)
        return crops
