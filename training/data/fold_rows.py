"""Finds the rows of a fold's samples in a prepared set, for training and evaluation on real data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.prepared import PreparedSet, Refused
from training.data.records import DataSetError, Fold, Sample


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows [n] of one role in a prepared set, and the refused images of that role."""

    made: NDArray[np.int64]
    refused: tuple[Refused, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FoldRows:
    """One fold: all conditions of each listed photo, in the order of the lists."""

    train: Rows
    gallery: Rows
    probes: Rows


def resolve(fold: Fold, prepared: PreparedSet) -> FoldRows:
    """The rows of a fold. Raises DataSetError naming a sample that is missing or has another subject."""
    rows: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(prepared.rows):
        rows[row.source].append(i)
    refused: dict[str, list[Refused]] = defaultdict(list)
    for lost in prepared.refused:
        refused[lost.source].append(lost)

    def of(samples: Sequence[Sample]) -> Rows:
        names = [sample.path.as_posix() for sample in samples]
        unknown = [name for name in names if name not in rows and name not in refused]
        if unknown:
            raise DataSetError(
                f"fold {fold.name}: {unknown[0]} is not in {prepared.info.name}"
                f" ({len(unknown)} of {len(names)} are not): prepare the set again"
            )
        for name, sample in zip(names, samples, strict=True):
            for known in (*(prepared.rows[i] for i in rows.get(name, ())), *refused.get(name, ())):
                if known.subject != sample.subject:
                    raise DataSetError(
                        f"fold {fold.name}: {name} is subject {sample.subject}, but {known.subject} in"
                        f" {prepared.info.name}: it was prepared from another data set"
                    )
        made = [i for name in names for i in rows.get(name, ())]
        return Rows(np.array(made, np.int64), tuple(r for name in names for r in refused.get(name, ())))

    return FoldRows(of(fold.train), of(fold.gallery), of(fold.probes))
