"""Selects probes and references: of a split of a prepared set, or of a fold of a protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from faces.rates.scores import Comparison, Ids
from faces.types import Condition, Spectrum
from training.data.fold_rows import Rows, resolve
from training.data.prepared import PreparedSet, Refused, Role, Row, Split
from training.data.records import DataSetError, Fold
from training.evaluation.embedding import Embedded


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The rows of gallery and probes, in all their conditions."""

    gallery: Rows
    probes: Rows

    @property
    def rows(self) -> Ids:
        """All rows to embed."""
        return np.union1d(self.gallery.made, self.probes.made)


def split_pool(prepared: PreparedSet, split: Split) -> Pool:
    """Selects rows by their role in a split. Raises DataSetError if a role has no row."""

    def of(role: Role) -> Rows:
        made = prepared.select(split=split, role=role)
        if not len(made):
            raise DataSetError(f"{prepared.info.name}: split {split} has no row of role {role}")
        lost = tuple(r for r in prepared.refused if r.split == split and r.role == role)
        return Rows(made, lost)

    return Pool(of("gallery"), of("probe"))


def fold_pool(prepared: PreparedSet, fold: Fold) -> Pool:
    """Selects rows by the lists of a fold, in all conditions of a listed photo.

    Raises DataSetError if the fold names a photo that the set lacks.
    """
    rows = resolve(fold, prepared)
    return Pool(rows.gallery, rows.probes)


class Bench:
    """The embedded rows of a pool, for comparisons by condition."""

    def __init__(self, embedded: Embedded, pool: Pool) -> None:
        self._embedded, self.pool = embedded, pool
        self.rows = embedded.prepared.rows

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions of the probes, NIR first."""
        found = {self.rows[int(i)].condition for i in self.pool.probes.made}
        return tuple(sorted(found, key=lambda c: (c.spectrum is not Spectrum.NIR, not c.masked)))

    @property
    def gallery_states(self) -> tuple[bool, ...]:
        """Whether the gallery has unmasked rows (False), masked rows (True) or both, in this order."""
        return tuple(sorted({self.rows[int(i)].masked for i in self.pool.gallery.made}))

    def probes(self, condition: Condition) -> Ids:
        """Returns the rows [n] of the probes of a condition."""
        return self._fitting(self.pool.probes.made, lambda row: row.condition == condition)

    def compare(self, condition: Condition, *, gallery_masked: bool = False) -> Comparison:
        """Compares all probes of a condition, failed ones too, with the masked or the unmasked references."""
        lost = lost_in(self.pool.probes, self.rows, condition)
        return self.compare_rows(self.probes(condition), lost, gallery_masked=gallery_masked)

    def compare_rows(
        self, rows: Ids, lost: Sequence[Refused] = (), *, gallery_masked: bool = False
    ) -> Comparison:
        """Compares these probes [n] and failures with the masked or the unmasked references."""
        gallery = self.pool.gallery
        mine = self._fitting(gallery.made, lambda row: row.masked == gallery_masked)
        spectra = {self.rows[int(i)].spectrum for i in mine}
        states = [Condition(spectrum, gallery_masked) for spectrum in sorted(spectra)]
        # By identity, because a refused image that is missing in both spectra is one failure.
        failed = {id(r): r for state in states for r in lost_in(gallery, self.rows, state)}
        return Comparison(self._embedded.side(rows, lost), self._embedded.side(mine, tuple(failed.values())))

    def _fitting(self, made: Ids, fits: Callable[[Row], bool]) -> Ids:
        return np.array([i for i in made if fits(self.rows[int(i)])], np.int64)


def lost_in(role: Rows, rows: Sequence[Row], condition: Condition) -> tuple[Refused, ...]:
    """Returns the images of a role that are missing in a condition.

    These are all that were refused in this condition. They are also, once for each source, those without
    any row from which this condition would have been made: images of its spectrum, or images of a spectrum
    of which the role has no row (pseudo-NIR whose visible photo had no face).
    """
    alive = {rows[int(i)].source for i in role.made}
    spectra = {rows[int(i)].spectrum for i in role.made}
    here = [r for r in role.refused if Condition(r.spectrum, r.masked) == condition]
    known = alive | {r.source for r in here}
    elsewhere = {
        r.source: r
        for r in role.refused
        if r.source not in known and (r.spectrum == condition.spectrum or r.spectrum not in spectra)
    }
    return (*here, *elsewhere.values())
