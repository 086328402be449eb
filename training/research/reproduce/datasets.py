"""Prepared sets, checked for being what they are said to be: real folds, or the stand-in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.data.assign_splits import assign_fold
from training.data.prepared import PreparedSet, read_prepared
from training.data.records import DataSetError
from training.data.registry import load_fold
from training.research.reproduce.published import On
from training.research.reproduce.run import Ground

CASIA = "casia"


def real_grounds(
    casia: Path, others: dict[On, Path], *, root: Path | None, folds: Sequence[int]
) -> tuple[Ground, ...]:
    """The split in the rows of a set that was prepared with `--fold`; or, with the data set's folder, these
    folds of its protocol. Raises DataSetError.
    """
    prepared = real_set(casia, CASIA)
    tried = {on: real_set(path, on.value) for on, path in others.items()}
    if root is None:
        if list(folds) not in ([], [1]):
            raise DataSetError("folds other than the set's own need the data set's folder: --casia-root")
        if not len(prepared.select(split="train")):
            raise DataSetError(
                f"{prepared.info.name} has no split in its rows:"
                " prepare it with --fold 1, or give --casia-root"
            )
        return (Ground(prepared.info.name, prepared, tried, synthetic=False),)
    chosen = [load_fold(CASIA, root, number) for number in folds or (1,)]
    return tuple(Ground(fold.name, assign_fold(prepared, fold), tried, synthetic=False) for fold in chosen)


def real_set(path: Path, name: str) -> PreparedSet:
    """`name`: of the data set, to begin the set's.

    Raises DataSetError where the set is another data set, or a generator made any of its rows.
    """
    prepared = read_prepared(path)
    if prepared.info.name.split("-")[0] != name:
        raise DataSetError(f"--{name}: {prepared.info.name} is another data set")
    if any(row.generator for row in prepared.rows):
        raise DataSetError(f"--{name}: rows of {prepared.info.name} come from a generator: use --standin")
    return prepared


def standin_ground(path: Path) -> Ground:
    """Raises DataSetError where the set has no generated rows, and so is not the stand-in."""
    prepared = read_prepared(path)
    if not any(row.generator for row in prepared.rows):
        raise DataSetError(f"--standin: no row of {prepared.info.name} comes from a generator")
    return Ground("SYNTHETIC stand-in", prepared, {}, synthetic=True)
