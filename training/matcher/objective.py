"""The loss: a probe's template should be near the trunk's templates of its person, far from all others.

Anchors are the frozen trunk's templates of *other* visible photos of the same person, so that galleries of
the trunk stay valid and the visible accuracy of references is not touched. Five terms:

- forward: multi-positive InfoNCE (van den Oord et al., arXiv 1807.03748; Khosla et al., arXiv 2004.11362)
  with an additive margin, each probe against every training template;
- backward: each anchor against this batch's probes and a queue of earlier ones, as HSST's second direction;
- threshold: mated scores above one learnt threshold and non-mated ones below, for all probes together,
  because a door has one threshold (Zhou et al., UniTSFace, NeurIPS 2023, has such a term);
- pull: the cosine to the mean of the person's templates;
- hold: the cosine of clear visible views to the trunk's own template.

Two more are off unless the recipe gives them a weight (`training.matcher.classes`): a softmax with a margin
over subjects, and HSST's queue of prototypes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.matcher.classes import PrototypeTerm, SubjectSoftmax
from training.matcher.recipe import LossRecipe

NEVER = -1.0e4


@dataclass(frozen=True, eq=False)
class Scored:
    """`loss`: scalar with gradient; `parts`: its terms, for the log."""

    loss: Tensor
    parts: Mapping[str, Tensor]


class MatchObjective(nn.Module):
    """`anchors` [n, d]: unit templates of all training photos without a mask; `subject`, `photo` int64 [n]:
    of each anchor; `batch`: rows of one. Queues are part of the state, so a resumed run goes on the same."""

    anchors: Tensor
    anchor_subject: Tensor
    anchor_photo: Tensor
    means: Tensor
    row_of_photo: Tensor
    queue: Tensor
    queue_subject: Tensor
    pointer: Tensor

    def __init__(
        self, anchors: Tensor, subject: Tensor, photo: Tensor, recipe: LossRecipe, *, batch: int
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.register_buffer("anchors", anchors, persistent=False)
        self.register_buffer("anchor_subject", subject, persistent=False)
        self.register_buffer("anchor_photo", photo, persistent=False)
        self.register_buffer("means", _means(anchors, subject), persistent=False)
        places = torch.full((int(photo.max()) + 1,), -1)
        places[photo] = torch.arange(len(photo))
        self.register_buffer("row_of_photo", places, persistent=False)
        self.register_buffer("queue", torch.zeros(recipe.queue, anchors.shape[1]))
        self.register_buffer("queue_subject", torch.full((recipe.queue,), -1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.threshold = nn.Parameter(torch.tensor(0.35))
        self.subjects: SubjectSoftmax | None = None
        if recipe.subjects.weight:
            self.subjects = SubjectSoftmax(self.means, torch.bincount(subject), recipe.subjects)
        self.prototypes: PrototypeTerm | None = None
        if recipe.prototypes.weight:
            self.prototypes = PrototypeTerm(anchors.shape[1], batch, recipe.prototypes)

    def forward(
        self, rows: Tensor, subject: Tensor, photo: Tensor, clear: Tensor, prototypes: Tensor | None = None
    ) -> Scored:
        """`rows` [B, d] unit templates of probes; `subject`, `photo` int64 [B]; `clear` bool [B];
        `prototypes` [B, d] of other photos, zeros where there is none, if the recipe asks for them.

        Raises ValueError if it does and there are none.
        """
        r = self.recipe
        cosines = rows @ self.anchors.T
        same = subject[:, None] == self.anchor_subject[None, :]
        other = same & (photo[:, None] != self.anchor_photo[None, :])
        mated = torch.where(other.any(1, keepdim=True), other, same)
        found = mated.any(1)
        most = torch.logsumexp((r.scale * cosines).masked_fill(same, NEVER), dim=1)
        at = mated.nonzero()
        score = r.scale * (cosines[at[:, 0], at[:, 1]] - r.margin)
        count = mated.sum(1).clamp_min(1)
        forward = _mean_by_row(functional.softplus(most[at[:, 0]] - score), at[:, 0], count, found)
        line = r.scale * self.threshold
        over = _mean_by_row(functional.softplus(line - score), at[:, 0], count, found)
        threshold = over + functional.softplus(most - line).mean()
        people = self.means[subject.clamp(0, len(self.means) - 1)]
        row = self.row_of_photo[photo.clamp(0, len(self.row_of_photo) - 1)]
        target = torch.where((clear & (row >= 0))[:, None], self.anchors[row], people)
        away = 1.0 - (rows * target).sum(1)
        parts = {
            "forward": forward,
            "backward": self._backward(rows, subject, at, found),
            "threshold": threshold,
            "pull": _mean_where(away, ~clear & found),
            "hold": _mean_where(away, clear),
        }
        loss = torch.stack([getattr(r, name) * value for name, value in parts.items()]).sum()
        if self.subjects is not None:
            parts["subjects"] = self.subjects(rows, subject)
            loss = loss + r.subjects.weight * parts["subjects"]
        if self.prototypes is not None:
            if prototypes is None:
                raise ValueError("the recipe asks for prototypes, and none were given")
            parts["prototypes"] = self.prototypes(rows, subject, prototypes)
            loss = loss + r.prototypes.weight * parts["prototypes"]
        return Scored(loss, {name: value.detach() for name, value in parts.items()})

    def _backward(self, rows: Tensor, subject: Tensor, at: Tensor, found: Tensor) -> Tensor:
        """One anchor of each row, drawn by torch's own chance of `at` [k, 2], told apart among probes."""
        r = self.recipe
        mixed = at[torch.randperm(len(at))]
        chosen = torch.zeros(len(rows), dtype=torch.int64).scatter_(0, mixed[:, 0], mixed[:, 1])
        anchors = self.anchors[chosen]
        probes = torch.cat([rows, self.queue])
        owner = torch.cat([subject, self.queue_subject])
        logits = r.scale * (anchors @ probes.T)
        hidden = (subject[:, None] == owner[None, :]) | (owner < 0)[None, :]
        most = torch.logsumexp(logits.masked_fill(hidden, NEVER), dim=1)
        own = r.scale * ((anchors * rows).sum(1) - r.margin)
        return _mean_where(functional.softplus(most - own), found)

    @torch.no_grad()
    def enqueue(self, rows: Tensor, subject: Tensor, prototypes: Tensor | None = None) -> None:
        """Keep these probes, and prototypes, instead of the oldest ones."""
        if self.prototypes is not None and prototypes is not None:
            self.prototypes.enqueue(subject, prototypes)
        size = len(self.queue)
        if size == 0:
            return
        at = (int(self.pointer) + torch.arange(len(rows))) % size
        self.queue[at], self.queue_subject[at] = rows.detach().float(), subject
        self.pointer.fill_((int(self.pointer) + len(rows)) % size)


def _means(anchors: Tensor, subject: Tensor) -> Tensor:
    """The unit mean of each person's templates [people, d]."""
    summed = torch.zeros(int(subject.max()) + 1, anchors.shape[1]).index_add(0, subject, anchors)
    return functional.normalize(summed, dim=1)


def _mean_by_row(values: Tensor, row: Tensor, count: Tensor, found: Tensor) -> Tensor:
    """The mean over rows of each row's mean: `values` [k] of `row` [k]."""
    summed = torch.zeros(len(count)).index_add(0, row, values)
    return _mean_where(summed / count, found)


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum() / where.sum().clamp_min(1)
