"""Prototype queues: the gallery-net's latest embeddings, one queue for each spectrum, never mixed."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from faces.types import Spectrum
from training.data.pairs import QueueError

EMPTY = -1


class PrototypeQueues(nn.Module):
    """Queues of `size` unit rows [size, dimension] that share ids, filled flags and the pointer.

    All of it is registered as buffers, so a checkpoint resumes bit-equal. `names`: one queue for
    each spectrum (HSST), or a single one (SST). Raises QueueError unless `batch` divides `size`.
    """

    ids: Tensor
    filled: Tensor
    pointer: Tensor

    def __init__(self, *, size: int, batch: int, dimension: int, spectra: tuple[Spectrum, ...]) -> None:
        super().__init__()
        if batch < 1 or size < batch or size % batch:
            raise QueueError(f"the queue holds a multiple of the batch: {size} is none of {batch}")
        self.size, self.batch = size, batch
        for spectrum in spectra:
            self.register_buffer(spectrum.value, torch.zeros(size, dimension))
        self.register_buffer("ids", torch.full((size,), EMPTY, dtype=torch.int64))
        self.register_buffer("filled", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    def rows(self, spectrum: Spectrum) -> Tensor:
        """[size, dimension]."""
        return cast(Tensor, getattr(self, spectrum.value))

    def slots(self) -> Tensor:
        """Where the next batch goes: int64 [batch]."""
        return (self.pointer + torch.arange(self.batch, device=self.ids.device)) % self.size

    def kept_ids(self) -> Tensor:
        """Ids of the columns that stay as negatives in this iteration; the batch must avoid them."""
        stays = self.filled.clone()
        stays[self.slots()] = False
        return self.ids[stays]

    def with_positives(self, spectrum: Spectrum, positives: Tensor) -> Tensor:
        """A copy of a queue [size, dimension] with positives [batch, dimension] in the next slots."""
        columns = self.rows(spectrum).clone()
        columns[self.slots()] = positives.to(columns.dtype)
        return columns

    def allowed(self, identity: Tensor) -> Tensor:
        """Which columns row i may be compared with, bool [b, size]: filled ones of other subjects, and
        its own slot. `identity` int64 [batch] are the subjects that the next slots will hold."""
        slots = self.slots()
        ids, filled = self.ids.clone(), self.filled.clone()
        ids[slots], filled[slots] = identity, True
        allowed = filled[None, :] & (ids[None, :] != identity[:, None])
        return allowed.scatter(1, slots[:, None], True)

    @torch.no_grad()
    def enqueue(self, prototypes: dict[Spectrum, Tensor], identity: Tensor) -> None:
        """Put a batch of unit rows [batch, dimension] into the next slots and move on."""
        slots = self.slots()
        for spectrum, rows in prototypes.items():
            self.rows(spectrum)[slots] = rows.to(self.rows(spectrum).dtype)
        self.ids[slots] = identity
        self.filled[slots] = True
        self.pointer.copy_((self.pointer + self.batch) % self.size)
