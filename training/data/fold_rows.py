"""A fold's samples -> rows of a prepared set: what training and evaluation on real data begin with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.types import Spectrum
from training.data.prepared import PreparedSet, Refused
from training.data.records import DataSetError, Fold, Sample

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """Rows of one part of a fold, int64 [n] each, in the order of the fold's list."""

    unmasked: Indices
    masked: Indices

    @property
    def both(self) -> Indices:
        return np.concatenate([self.unmasked, self.masked])


@dataclass(frozen=True, slots=True)
class FailedProbe:
    """A probe of the fold that gave no row: it stays in the denominators as a failure to acquire."""

    source: str
    subject: str
    spectrum: Spectrum
    masked: bool
    code: str
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class FoldRows:
    """One fold in rows of a prepared set.

    `failed_gallery`: references without a row; a probe of a subject that lost all of them has no
    mate left (`mateless`) and can only be a miss. `failed_probes`: of each state in which probes
    were made at all.
    """

    name: str
    digest: str | None
    train_nir: States
    train_vis: States
    gallery: States
    probes: States
    failed_gallery: tuple[Refused, ...]
    failed_probes: tuple[FailedProbe, ...]
    mateless: Indices

    def failures(self, *, masked: bool) -> tuple[FailedProbe, ...]:
        """The failed probes of one state."""
        return tuple(probe for probe in self.failed_probes if probe.masked == masked)


class _Index:
    """Rows and refusals of a set by source."""

    def __init__(self, prepared: PreparedSet, fold: Fold) -> None:
        self.prepared, self._fold = prepared, fold
        self.rows: dict[str, list[int]] = defaultdict(list)
        self.refused: dict[str, list[Refused]] = defaultdict(list)
        for i, row in enumerate(prepared.rows):
            self.rows[row.source].append(i)
        for refused in prepared.refused:
            self.refused[refused.source].append(refused)

    def of(self, sample: Sample) -> list[int]:
        """Rows of the sample's own spectrum. Raises DataSetError where the set knows nothing of it."""
        source = sample.path.as_posix()
        found = self.rows.get(source, [])
        if not found and source not in self.refused:
            raise DataSetError(
                f"fold {self._fold.name}: {source} is neither a row nor refused in "
                f"{self.prepared.info.name}: prepare the set again from the same data"
            )
        rows = [self.prepared.rows[i] for i in found]
        for row in rows:
            if row.subject != sample.subject:
                raise DataSetError(
                    f"fold {self._fold.name}: {source} is subject {sample.subject}, but {row.subject} in "
                    f"{self.prepared.info.name}: it was prepared from another data set"
                )
        return [i for i, row in zip(found, rows, strict=True) if row.spectrum == sample.spectrum]

    def states(self, samples: Iterable[Sample]) -> States:
        every = [i for sample in samples for i in self.of(sample)]
        masked = [self.prepared.rows[i].masked for i in every]
        return States(
            np.array([i for i, m in zip(every, masked, strict=True) if not m], np.int64),
            np.array([i for i, m in zip(every, masked, strict=True) if m], np.int64),
        )

    def reason(self, sample: Sample, *, masked: bool) -> Refused | None:
        """Why the sample has no row in this state, the refusal of this very state first."""
        found = self.refused.get(sample.path.as_posix(), [])
        return next((r for r in found if r.masked == masked), found[0] if found else None)


def resolve(fold: Fold, prepared: PreparedSet) -> FoldRows:
    """Raises DataSetError naming a sample that the set does not know, or knows as somebody else."""
    index = _Index(prepared, fold)
    gallery, probes = index.states(fold.gallery), index.states(fold.probes)
    enrolled = {prepared.rows[int(i)].subject for i in gallery.both}
    return FoldRows(
        name=fold.name,
        digest=fold.digest,
        train_nir=index.states(s for s in fold.train if s.spectrum is Spectrum.NIR),
        train_vis=index.states(s for s in fold.train if s.spectrum is Spectrum.VIS),
        gallery=gallery,
        probes=probes,
        failed_gallery=tuple(
            reason
            for sample in fold.gallery
            if not index.of(sample) and (reason := index.reason(sample, masked=False)) is not None
        ),
        failed_probes=_failed(fold.probes, index, probes),
        mateless=np.array(
            [i for i in probes.both if prepared.rows[int(i)].subject not in enrolled], np.int64
        ),
    )


def _failed(samples: Sequence[Sample], index: _Index, probes: States) -> tuple[FailedProbe, ...]:
    # Where every probe failed, nobody knows which states were wanted: the unmasked one counts.
    states = [m for m, rows in ((False, probes.unmasked), (True, probes.masked)) if len(rows)] or [False]
    failed = []
    for masked in states:
        for sample in samples:
            if any(index.prepared.rows[i].masked == masked for i in index.of(sample)):
                continue
            reason = index.reason(sample, masked=masked)
            failed.append(
                FailedProbe(
                    source=sample.path.as_posix(),
                    subject=sample.subject,
                    spectrum=sample.spectrum,
                    masked=masked,
                    code=reason.code if reason is not None else "missing",
                    detail=reason.detail if reason is not None else "the set was made without this state",
                )
            )
    return tuple(failed)
