"""Chooses the photos of each batch: one NIR and one VIS photo of each subject, from different pictures."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from faces.types import Spectrum
from training.data.prepared import PreparedSet, Split
from training.data.records import DataSetError


class QueueError(ValueError):
    """The queue's size does not fit the batch or the number of subjects; the text names one that does."""


def valid_queue_size(subjects: int, batch: int) -> int:
    """The largest multiple of the batch that the subjects can fill without repetition; may be 0."""
    return subjects // batch * batch


@dataclass(frozen=True, slots=True)
class PairRequest:
    """One subject's two rows of a prepared set, and its label among the training subjects."""

    label: int
    nir: int
    vis: int


@dataclass(frozen=True, slots=True)
class Subject:
    """Rows of one training subject."""

    name: str
    vis: tuple[int, ...]
    nir: tuple[int, ...]
    nir_masked: tuple[int, ...]


def paired_subjects(prepared: PreparedSet, split: Split) -> tuple[Subject, ...]:
    """Subjects with an unmasked VIS photo and a NIR photo of another source, by name.

    Raises DataSetError if there is none.
    """
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: {"vis": [], "nir": [], "nir_masked": []})
    for i, row in enumerate(prepared.rows):
        if row.split == split and not (row.masked and row.spectrum is Spectrum.VIS):
            found[row.subject][row.spectrum.value + ("_masked" if row.masked else "")].append(i)
    subjects = []
    for name in sorted(found):
        rows = found[name]
        sources = {prepared.rows[i].source for i in rows["vis"]}
        others = {prepared.rows[i].source for i in rows["nir"] + rows["nir_masked"]}
        # Every NIR photo needs a VIS photo of another source.
        if others and all(sources - {source} for source in others):
            subjects.append(Subject(name, tuple(rows["vis"]), tuple(rows["nir"]), tuple(rows["nir_masked"])))
    if not subjects:
        raise DataSetError(f"{prepared.info.name}: no subject of split {split} has two photos to pair")
    return tuple(subjects)


class PairSampler:
    """Draws batches that avoid the subjects in a queue of `queue` columns; 0 avoids none (docs/hsst.md, 2.4).

    Batches are a pure function of the arguments and the iteration, so a resumed run needs no sampler state.
    `p_mask`: the probability of a masked NIR photo. Raises QueueError if there are fewer subjects than
    columns.
    """

    def __init__(
        self, prepared: PreparedSet, *, split: Split, batch: int, queue: int, p_mask: float, seed: int
    ) -> None:
        self.subjects = paired_subjects(prepared, split)
        self.batch, self.queue, self.p_mask, self.seed = batch, queue, p_mask, seed
        self.prepared = prepared
        if len(self.subjects) < max(queue, batch):
            fits = valid_queue_size(len(self.subjects), batch)
            raise QueueError(
                f"{len(self.subjects)} training subjects are fewer than the queue's {max(queue, batch)}:"
                f" choose queue = {fits}, or on_same_id = 'mask' where the method has it"
                if fits
                else f"choose a batch of at most {len(self.subjects)}"
            )

    def batches(self, start: int = 0) -> Iterator[tuple[PairRequest, ...]]:
        """Endless batches from iteration `start` on; replays the draws of earlier ones, without pixels."""
        kept: deque[frozenset[int]] = deque(maxlen=max(self.queue // self.batch - 1, 0))
        iteration = 0
        while True:
            rng = np.random.default_rng([self.seed, iteration])
            busy = frozenset().union(*kept) if kept else frozenset()
            free = np.array([i for i in range(len(self.subjects)) if i not in busy])
            chosen = [int(i) for i in rng.choice(free, self.batch, replace=False)]
            if kept.maxlen:
                kept.append(frozenset(chosen))
            if iteration >= start:
                yield tuple(self._pair(label, rng) for label in chosen)
            iteration += 1

    def _pair(self, label: int, rng: np.random.Generator) -> PairRequest:
        subject = self.subjects[label]
        masked = bool(subject.nir_masked) and (rng.random() < self.p_mask or not subject.nir)
        nir = int(rng.choice(subject.nir_masked if masked else subject.nir))
        source = self.prepared.rows[nir].source
        vis = [i for i in subject.vis if self.prepared.rows[i].source != source]
        return PairRequest(label, nir, int(rng.choice(vis)))
