"""Reads the prepared sets of a table and checks that they are real folds, or the stand-in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.data.assign_splits import assign_fold
from training.data.prepared import PreparedSet, read_prepared
from training.data.records import DataSetError
from training.data.registry import load_fold
from training.research.reproduce.published import On
from training.research.reproduce.run import FoldData

CASIA = "casia"


def load_folds(
    casia: Path, others: dict[On, Path], *, root: Path | None, folds: Sequence[int]
) -> tuple[FoldData, ...]:
    """Returns the fold of a set that was prepared with `--fold`, or folds of the data set's protocol.

    `root`: the data set's folder, for its `folds`; None: the split in the set's rows. Raises DataSetError if
    a set is not what its option says, or has no split.
    """
    prepared = read_real_set(casia, CASIA)
    tried = {on: read_real_set(path, on.value) for on, path in others.items()}
    if root is None:
        if list(folds) not in ([], [1]):
            raise DataSetError("folds other than the set's own need the data set's folder: --casia-root")
        if not len(prepared.select(split="train")):
            raise DataSetError(
                f"{prepared.info.name} has no split in its rows:"
                " prepare it with --fold 1, or give --casia-root"
            )
        return (FoldData(prepared.info.name, prepared, tried, synthetic=False),)
    chosen = [load_fold(CASIA, root, number) for number in folds or (1,)]
    return tuple(FoldData(fold.name, assign_fold(prepared, fold), tried, synthetic=False) for fold in chosen)


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
    return FoldData("SYNTHETIC stand-in", prepared, {}, synthetic=True)
