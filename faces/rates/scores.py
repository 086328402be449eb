"""Defines the two sides of a comparison and the scores between their templates."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from faces.types import UNIT_NORM_TOLERANCE

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]


def _nobody() -> Ids:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The probes or the references of a comparison.

    `templates`: float32 [n, d], unit rows. `subjects`: int64 [n]. `sources`: the names of
    their n photos. `failed`: int64 [k], the subject of each sample that gave no template; these samples
    stay in the denominators as misses. Raises ValueError for other shapes, types or norms.
    """

    templates: Vectors
    subjects: Ids
    sources: tuple[str, ...]
    failed: Ids = field(default_factory=_nobody)

    def __post_init__(self) -> None:
        rows, ids = self.templates, self.subjects
        if rows.ndim != 2 or rows.dtype != np.float32:
            raise ValueError(f"templates are float32 [n, d], got {rows.dtype} {rows.shape}")
        if ids.dtype != np.int64 or self.failed.dtype != np.int64 or self.failed.ndim != 1:
            raise ValueError("subjects are int64 [n], and so are those of failed samples")
        if ids.shape != (len(rows),) or len(self.sources) != len(rows):
            raise ValueError(f"{len(rows)} templates, {ids.shape} subjects, {len(self.sources)} sources")
        norms = np.linalg.norm(rows, axis=1)
        # A NaN fails this comparison too.
        if not (np.abs(norms - 1.0) <= UNIT_NORM_TOLERANCE).all():
            raise ValueError("templates must be finite and of unit norm")

    @property
    def samples(self) -> int:
        """The number of attempts: templates and failures."""
        return len(self.subjects) + len(self.failed)

    def everybody(self) -> Ids:
        """Returns each subject once, ascending, including those with failed samples only."""
        return np.unique(np.concatenate([self.subjects, self.failed]))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Every probe compared with every reference.

    Raises ValueError if a probe and a reference come from one photo (their score would measure the
    synthesis, not the face), if a side is empty, or if the dimensions differ. `given`: the scores
    float32 [probes, references] where they are no plain cosines.
    """

    probes: Side
    gallery: Side
    given: Vectors | None = None

    def __post_init__(self) -> None:
        shape = (len(self.probes.subjects), len(self.gallery.subjects))
        if self.given is not None and (self.given.shape != shape or self.given.dtype != np.float32):
            raise ValueError(f"scores are float32 {list(shape)}, got {self.given.dtype} {self.given.shape}")
        if not self.probes.samples or not len(self.gallery.subjects):
            raise ValueError("a comparison needs probes, and at least one reference")
        if self.probes.templates.shape[1] != self.gallery.templates.shape[1]:
            raise ValueError("probes and references have different dimensions")
        both = set(self.probes.sources) & set(self.gallery.sources)
        if both:
            raise ValueError(
                f"Never build probe and gallery from one photo: {min(both)} is on both sides"
                + (f", and {len(both) - 1} more are" if len(both) > 1 else "")
            )

    @cached_property
    def scores(self) -> Vectors:
        """The given scores, or cosine similarities: float32 [probes, references]."""
        scores = self.given
        if scores is None:
            scores = self.probes.templates @ self.gallery.templates.T
        scores.flags.writeable = False
        return scores

    @cached_property
    def mated(self) -> NDArray[np.bool_]:
        """Whether probe and reference are of the same subject, bool [probes, references]."""
        same: NDArray[np.bool_] = self.probes.subjects[:, None] == self.gallery.subjects[None, :]
        return same


def count_of(ids: Ids, everybody: Ids) -> Ids:
    """Counts each of `everybody` (ascending) in `ids`: int64 [len(everybody)]."""
    return np.bincount(np.searchsorted(everybody, ids), minlength=len(everybody)).astype(np.int64)
