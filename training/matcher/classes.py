"""Two terms that can stand beside InfoNCE: a softmax over subjects, and HSST's queue of prototypes.

Both use the losses of `training.methods`, so a margin means the same here as in the paper's baselines.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from faces.types import Spectrum
from training.data.records import DataSetError
from training.matcher.recipe import PrototypesRecipe, SubjectsRecipe
from training.methods.losses import per_sample
from training.methods.plain import Head
from training.methods.prototypes import EMPTY, PrototypeQueues, among


class SubjectSoftmax(nn.Module):
    """Classifies probes among the subjects with two or more references (plain+ of `training.methods.plain`).

    `means` [people, d]: where the class weights start; `references` int64 [people]: photos of each.
    Raises DataSetError if nobody has two.
    """

    place: Tensor

    def __init__(self, means: Tensor, references: Tensor, recipe: SubjectsRecipe) -> None:
        super().__init__()
        several = torch.nonzero(references > 1)[:, 0]  # [classes]
        if not len(several):
            raise DataSetError("no person has two references, so there are no classes to tell apart")
        self.loss = recipe.loss
        place = torch.full((len(means),), EMPTY)
        place[several] = torch.arange(len(several))
        self.register_buffer("place", place, persistent=False)
        # The weights are set at once, so the run's own draws stay as they are without this term.
        with torch.random.fork_rng(devices=()):
            self.head = Head(len(several), means.shape[1])
        self.head.start_at(means[several])

    def forward(self, rows: Tensor, subject: Tensor) -> Tensor:
        """The mean over those unit rows [B, d] whose `subject` int64 [B] is a class, 0 if there is none."""
        known = subject < len(self.place)
        column = torch.where(known, self.place[subject.clamp(0, len(self.place) - 1)], EMPTY)
        shown = column != EMPTY
        cosine = self.head(rows[shown])  # [b, classes]
        each = per_sample(cosine, column[shown], torch.ones_like(cosine, dtype=torch.bool), self.loss)
        return each.sum() / shown.sum().clamp_min(1)


class PrototypeTerm(nn.Module):
    """Classifies probes among prototypes of this and earlier batches: equation (2), from NIR to visible.

    A prototype is the template that the average of the weights, HSST's gallery-net, makes of another photo
    of a subject. The queue is part of the state.
    """

    def __init__(self, dimension: int, batch: int, recipe: PrototypesRecipe) -> None:
        super().__init__()
        self.loss = recipe.loss
        self.queues = PrototypeQueues(
            size=recipe.queue, batch=batch, dimension=dimension, spectra=(Spectrum.VIS,)
        )

    def forward(self, rows: Tensor, subject: Tensor, prototypes: Tensor) -> Tensor:
        """The mean over those unit rows [B, d] that have a prototype [B, d]: the others' are zeros."""
        identity = _identity(subject, prototypes)
        each = among(self.queues, rows, Spectrum.VIS, prototypes, identity, self.loss)
        there = identity != EMPTY
        return (each * there).sum() / there.sum().clamp_min(1)

    def enqueue(self, subject: Tensor, prototypes: Tensor) -> None:
        """Keep these prototypes instead of the oldest ones."""
        self.queues.enqueue({Spectrum.VIS: prototypes}, _identity(subject, prototypes))


def _identity(subject: Tensor, prototypes: Tensor) -> Tensor:
    return torch.where(prototypes.abs().sum(1) > 0, subject, EMPTY)
