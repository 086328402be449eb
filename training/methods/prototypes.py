"""Prototype queues: the gallery-net's latest embeddings, one queue for each spectrum, never mixed."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from faces.types import Spectrum
from training.data.pairs import QueueError
from training.methods.losses import LossConfig, cosines, per_sample

# The id of a slot without a prototype.
EMPTY = -1


class PrototypeQueues(nn.Module):
    """Queues of `size` unit rows [size, dimension] that share ids, filled flags and the pointer.

    All state is registered as buffers, so a resumed run gives the bit-equal next loss (docs/hsst.md, 4.4).
    `spectra`: a queue for each (HSST), or one alone (SST). Raises QueueError unless `batch` divides `size`.
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
            self.register_buffer(spectrum.value, torch.zeros(size, dimension))  # [K, d]
        self.register_buffer("ids", torch.full((size,), EMPTY, dtype=torch.int64))  # [K]
        self.register_buffer("filled", torch.zeros(size, dtype=torch.bool))  # [K]
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))  # scalar

    def rows(self, spectrum: Spectrum) -> Tensor:
        """The queue of one spectrum: [size, dimension]."""
        return cast(Tensor, getattr(self, spectrum.value))

    def slots(self) -> Tensor:
        """The slots t that the next batch occupies: int64 [batch]."""
        return (self.pointer + torch.arange(self.batch, device=self.ids.device)) % self.size

    def kept_ids(self) -> Tensor:
        """Ids [at most size] of the columns that stay as negatives in this step; the batch avoids them."""
        stays = self.filled.clone()  # [size]
        stays[self.slots()] = False
        return self.ids[stays]

    def with_positives(self, spectrum: Spectrum, positives: Tensor) -> Tensor:
        """A copy of a queue [size, dimension] with positives [batch, dimension] in the next slots."""
        columns = self.rows(spectrum).clone()  # [size, dimension]
        columns[self.slots()] = positives.to(columns.dtype)
        return columns

    def allowed(self, identity: Tensor) -> Tensor:
        """Which columns each row is compared with, bool [batch, size]: filled ones of other subjects, and
        its own slot. `identity` int64 [batch]: the subjects that the next slots receive, EMPTY for none."""
        slots = self.slots()  # [batch]
        ids, filled = self.ids.clone(), self.filled.clone()  # [size] each
        ids[slots], filled[slots] = identity, identity != EMPTY
        allowed = filled[None, :] & (ids[None, :] != identity[:, None])  # [batch, size]
        return allowed.scatter(1, slots[:, None], True)

    @torch.no_grad()
    def enqueue(self, prototypes: dict[Spectrum, Tensor], identity: Tensor) -> None:
        """Writes unit rows [batch, dimension] of each spectrum to the next slots, advances the pointer.

        A slot whose `identity` is EMPTY takes part in no comparison.
        """
        slots = self.slots()  # [batch]
        for spectrum, rows in prototypes.items():
            self.rows(spectrum)[slots] = rows.to(self.rows(spectrum).dtype)
        self.ids[slots] = identity
        self.filled[slots] = identity != EMPTY
        self.pointer.copy_((self.pointer + self.batch) % self.size)


def among(
    queues: PrototypeQueues,
    rows: Tensor,
    spectrum: Spectrum,
    positives: Tensor,
    identity: Tensor,
    loss: LossConfig,
    mine: slice = slice(None),
) -> Tensor:
    """The loss [b] of unit rows [b, d] among a spectrum's prototypes, positives in the next slots: equation
    (2) as docs/hsst.md, 3.3 puts it.

    `positives` [B, d] and `identity` int64 [B] are those of the whole step, `mine` the place of the rows.
    """
    cosine = cosines(rows, queues.with_positives(spectrum, positives))  # [b, K], equation (a)
    allowed = queues.allowed(identity)[mine]  # [b, K]
    return per_sample(cosine, queues.slots()[mine], allowed, loss)
