"""Reads the prepared sets of a table and checks that they are real folds, or the stand-in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.assign_splits import assign_fold
from training.data.fold_rows import resolve
from training.data.prepared import PreparedSet, read_prepared
from training.data.records import DataSetError, Fold
from training.data.registry import load_folds as load_protocol
from training.research.reproduce.published import On

CASIA = "casia"


@dataclass(frozen=True, slots=True)
class FoldData:
    """One fold to train and evaluate on, and other data sets to evaluate on.

    `whole`: the set as it was read; `fold`: the fold that gives its rows their split, None if they have it.
    `synthetic`: generators made it, so its results must not stand beside the paper's figures.
    """

    name: str
    whole: PreparedSet
    fold: Fold | None
    others: Mapping[On, PreparedSet]
    synthetic: bool

    @property
    def prepared(self) -> PreparedSet:
        """The set with the fold's split; made anew each time, since ten folds of CASIA would take a GB."""
        return self.whole if self.fold is None else assign_fold(self.whole, self.fold)

    @property
    def sets(self) -> tuple[PreparedSet, ...]:
        """Every set that the fold's networks meet."""
        return (self.whole, *self.others.values())


def load_folds(
    casia: Path, others: dict[On, Path], *, root: Path | None, folds: Sequence[int], wanted: Sequence[int]
) -> tuple[FoldData, ...]:
    """Returns the fold of a set that was prepared with `--fold`, or folds of the data set's protocol.

    `root`: the data set's folder, for its `folds`; None: the split in the set's rows. `wanted`: the folds of
    the table, if none is chosen. Raises DataSetError if a set is not what its option says, or has no split.
    """
    prepared = read_real_set(casia, CASIA)
    tried = {on: read_real_set(path, on.value) for on, path in others.items()}
    if root is None:
        if list(folds or wanted) != [1]:
            raise DataSetError("folds other than the set's own need the data set's folder: --casia-root")
        if not len(prepared.select(split="train")):
            raise DataSetError(
                f"{prepared.info.name} has no split in its rows:"
                " prepare it with --fold 1, or give --casia-root"
            )
        return (FoldData(prepared.info.name, prepared, None, tried, synthetic=False),)
    chosen = load_protocol(CASIA, root, folds or wanted)
    for fold in chosen:
        # Every fold is checked before the first one is trained on.
        resolve(fold, prepared)
    return tuple(FoldData(fold.name, prepared, fold, tried, synthetic=False) for fold in chosen)


def read_real_set(path: Path, name: str) -> PreparedSet:
    """Reads a set of the data set `name`.

    Raises DataSetError if it is of another data set, or a generator made any of its rows.
    """
    prepared = read_prepared(path)
    if prepared.info.name.split("-")[0] != name:
        raise DataSetError(f"--{name}: {prepared.info.name} is another data set")
    if any(row.generator for row in prepared.rows):
        raise DataSetError(f"--{name}: rows of {prepared.info.name} come from a generator: use --standin")
    return prepared


def load_standin(path: Path) -> FoldData:
    """Reads the stand-in. Raises DataSetError if no row of the set comes from a generator."""
    prepared = read_prepared(path)
    if not any(row.generator for row in prepared.rows):
        raise DataSetError(f"--standin: no row of {prepared.info.name} comes from a generator")
    return FoldData("SYNTHETIC stand-in", prepared, None, {}, synthetic=True)
