"""Assigns train and validation splits to a prepared set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from faces.types import Spectrum
from training.data.fold_rows import resolve
from training.data.loaded import NO_PLACE, Place, places_of
from training.data.pairs import paired_subjects
from training.data.prepared import PreparedSet, Refused, Row
from training.data.records import DataSetError, Fold
from training.data.splits import drawn


def assign_fold(prepared: PreparedSet, fold: Fold) -> PreparedSet:
    """Assigns one fold's split and roles to the rows.

    Raises DataSetError if the set lacks a sample of the fold, or names another subject for it.
    """
    resolve(fold, prepared)
    places = {path.as_posix(): place for path, place in places_of(fold).items()}
    return _placed(prepared, lambda row: places.get(row.source, NO_PLACE))


def assign_validation(prepared: PreparedSet, count: int, *, seed: int) -> PreparedSet:
    """Makes `count` training subjects the validation split.

    One unmasked VIS photo of each becomes the gallery, NIR photos of other sources become probes. Raises
    DataSetError if no training subject would be left.
    """
    subjects = {subject.name: subject for subject in paired_subjects(prepared, "train")}
    if not 0 < count < len(subjects):
        raise DataSetError(
            f"{prepared.info.name}: {count} of {len(subjects)} training subjects cannot be held out"
        )
    chosen = drawn(subjects, count, seed=seed, salt="validation subjects")
    enrolled = {name: prepared.rows[subjects[name].vis[0]].source for name in chosen}

    def place(row: Row | Refused) -> Place:
        if row.split == "validation":
            return NO_PLACE
        if row.split != "train" or row.subject not in enrolled:
            return Place(row.split, row.role)
        own = row.source == enrolled[row.subject]
        if row.spectrum is Spectrum.NIR and not own:
            return Place("validation", "probe")
        reference = row.spectrum is Spectrum.VIS and own and not row.masked
        return Place("validation", "gallery") if reference else NO_PLACE

    return _placed(prepared, place)


def _placed(prepared: PreparedSet, place: Callable[[Row | Refused], Place]) -> PreparedSet:
    def moved(row: Row) -> Row:
        to = place(row)
        return row.model_copy(update={"split": to.split, "role": to.role})

    def lost(refused: Refused) -> Refused:
        to = place(refused)
        return refused.model_copy(update={"split": to.split, "role": to.role})

    return replace(
        prepared,
        rows=tuple(moved(row) for row in prepared.rows),
        refused=tuple(lost(refused) for refused in prepared.refused),
    )
