"""Opens the prepared sets of a comparison and checks that they are what the plan is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from training.data.assign_splits import assign_fold
from training.data.fold_rows import resolve
from training.data.prepared import PreparedSet, read_prepared
from training.data.records import DataSetError, Fold
from training.data.registry import load_folds
from training.research.compare.plan import OWN


@dataclass(frozen=True, slots=True)
class SetPaths:
    """Where the sets of a comparison are; small enough to send to worker processes.

    `own`: the set that is trained on; `root`: the data set's folder, for `folds` of its protocol, None for
    the split in the set's rows; `tests`: name and path of other sets whose test split is evaluated.
    """

    own: Path
    data: str | None
    root: Path | None
    folds: tuple[int, ...]
    tests: tuple[tuple[str, Path], ...]


@dataclass(frozen=True, slots=True)
class FoldData:
    """One fold to train and evaluate on. `fold`: gives the rows their split, None if they have it."""

    name: str
    whole: PreparedSet
    fold: Fold | None

    @property
    def prepared(self) -> PreparedSet:
        """The set with the fold's split; made anew each time, since ten folds of CASIA would take a GB."""
        return self.whole if self.fold is None else assign_fold(self.whole, self.fold)


@dataclass(frozen=True, slots=True)
class Sets:
    """The opened sets. `synthetic`: generators made rows, so no figure of the paper may stand beside."""

    folds: tuple[FoldData, ...]
    others: tuple[tuple[str, PreparedSet], ...]
    synthetic: bool

    def __iter__(self) -> Iterator[PreparedSet]:
        """Every set once."""
        yield self.folds[0].whole
        yield from (prepared for _, prepared in self.others)


@cache
def open_sets(paths: SetPaths) -> Sets:
    """Opens the sets and finds the folds.

    Raises DataSetError if a set is of another data set than the plan's, if synthetic and real sets are
    mixed, or if there is no split.
    """
    own = read_prepared(paths.own)
    others = tuple((name, read_prepared(path)) for name, path in paths.tests)
    made = [_generated(prepared) for prepared in (own, *(prepared for _, prepared in others))]
    if len(set(made)) > 1:
        raise DataSetError("rows of some sets come from a generator: real data and they never share a table")
    if not made[0]:
        wanted = [(paths.data, own)] if paths.data is not None else []
        for name, prepared in [*wanted, *others]:
            if paths.data is not None and prepared.info.name.split("-")[0] != name:
                raise DataSetError(f"{name}: {prepared.info.name} is another data set")
    return Sets(_folds(own, paths), others, made[0])


def _generated(prepared: PreparedSet) -> bool:
    return any(row.generator for row in prepared.rows)


def _folds(own: PreparedSet, paths: SetPaths) -> tuple[FoldData, ...]:
    if paths.root is None:
        if paths.folds != (1,) and not _generated(own):
            raise DataSetError("folds other than the set's own need the data set's folder: --root")
        if not len(own.select(split="train")):
            raise DataSetError(
                f"{own.info.name} has no split in its rows: prepare it with --fold 1, or give --root"
            )
        return (FoldData(f"SYNTHETIC {own.info.name}" if _generated(own) else own.info.name, own, None),)
    chosen: Sequence[Fold] = load_folds(paths.data, paths.root, paths.folds)
    for fold in chosen:
        # Every fold is checked before the first one is trained on.
        resolve(fold, own)
    return tuple(FoldData(fold.name, own, fold) for fold in chosen)


def tests_of(sets: Sets, own: PreparedSet) -> list[tuple[str, PreparedSet]]:
    """Name and set of every test split: of the fold that was trained on, then of the others."""
    return [(OWN, own), *sets.others]
