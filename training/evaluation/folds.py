"""Evaluates the folds of a protocol: each one, then mean and standard deviation (ddof 0), as papers do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from faces.types import Condition
from training.data.prepared import PreparedSet
from training.data.records import DataSetError, Fold
from training.evaluation.conditions import Asked, ConditionFigures, by_condition, mask_matrix
from training.evaluation.embedding import embed
from training.evaluation.figures import Figures
from training.evaluation.pools import Bench, fold_pool
from training.networks.crop_encoder import CropEncoder


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation (ddof 0) of a rate over folds."""

    mean: float
    std: float
    folds: int


@dataclass(frozen=True, slots=True)
class FoldFigures:
    """Figures of one fold. `digest` of its lists, if the project drew them."""

    fold: str
    digest: str | None
    conditions: tuple[ConditionFigures, ...]
    matrix: tuple[ConditionFigures, ...]


@dataclass(frozen=True, slots=True)
class FoldSummary:
    """One condition over the folds that have it. `tar` has the FMR points that every fold supports."""

    condition: Condition
    gallery_masked: bool
    rank1: Spread
    tar: dict[float, Spread]


@dataclass(frozen=True, slots=True)
class FoldTable:
    """The figures of every fold, and the summary of each cell."""

    folds: tuple[FoldFigures, ...]
    conditions: tuple[FoldSummary, ...]
    matrix: tuple[FoldSummary, ...]


def evaluate_folds(
    encoder_of: CropEncoder | Callable[[Fold], CropEncoder],
    prepared: PreparedSet,
    folds: Sequence[Fold],
    *,
    asked: Asked | None = None,
    on_embedded: Callable[[Fold, int, int], None] | None = None,
) -> FoldTable:
    """Evaluates one encoder on all folds, or the encoder that `encoder_of` returns for each.

    `on_embedded` takes the fold, its crops embedded so far, and their number. Raises DataSetError if there
    are no folds, or if a fold names a photo that the set lacks, which is found before any work.
    """
    if not folds:
        raise DataSetError(f"{prepared.info.name}: no folds to evaluate")
    asked = asked or Asked()
    done = []
    for fold, pool in [(fold, fold_pool(prepared, fold)) for fold in folds]:
        encoder = encoder_of(fold) if callable(encoder_of) else encoder_of
        count = _Counter(fold, len(pool.rows), on_embedded)
        bench = Bench(embed(encoder, prepared, pool.rows, on_done=count.add), pool)
        done.append(
            FoldFigures(fold.name, fold.digest, by_condition(bench, asked), mask_matrix(bench, asked))
        )
    return FoldTable(
        tuple(done),
        summarise([cell for fold in done for cell in fold.conditions]),
        summarise([cell for fold in done for cell in fold.matrix]),
    )


@dataclass
class _Counter:
    """Counts the embedded crops of a fold and reports them."""

    fold: Fold
    total: int
    report: Callable[[Fold, int, int], None] | None
    done: int = 0

    def add(self, count: int) -> None:
        self.done += count
        if self.report is not None:
            self.report(self.fold, self.done, self.total)


def summarise(cells: Sequence[ConditionFigures]) -> tuple[FoldSummary, ...]:
    """Returns mean and standard deviation of each (condition, gallery), in order of their first
    occurrence."""
    groups: dict[tuple[Condition, bool], list[Figures]] = {}
    for cell in cells:
        groups.setdefault((cell.condition, cell.gallery_masked), []).append(cell.figures)
    return tuple(
        FoldSummary(
            condition,
            masked,
            _spread([one.rank1.value for one in group]),
            {
                fmr: _spread([one.tar[fmr].value for one in group])
                for fmr in group[0].tar
                if all(fmr in one.tar for one in group)
            },
        )
        for (condition, masked), group in groups.items()
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(float(np.mean(values)), float(np.std(values)), len(values))
