"""Who is compared with whom: a split of a prepared set, or a fold of a data set's protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from faces.types import Condition, Spectrum
from training.data.fold_rows import Rows, resolve
from training.data.prepared import PreparedSet, Refused, Role, Row, Split
from training.data.records import DataSetError, Fold
from training.evaluation.embedding import Embedded
from training.evaluation.scores import Comparison, Ids


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The gallery's and the probes' rows of one protocol, in all their conditions."""

    gallery: Rows
    probes: Rows

    @property
    def rows(self) -> Ids:
        """Everything that has to be embedded."""
        return np.union1d(self.gallery.made, self.probes.made)


def split_pool(prepared: PreparedSet, split: Split) -> Pool:
    """Rows by their role in a split. Raises DataSetError where a role has none."""

    def of(role: Role) -> Rows:
        made = prepared.select(split=split, role=role)
        if not len(made):
            raise DataSetError(f"{prepared.info.name}: split {split} has no row of role {role}")
        lost = tuple(r for r in prepared.refused if r.split == split and r.role == role)
        return Rows(made, lost)

    return Pool(of("gallery"), of("probe"))


def fold_pool(prepared: PreparedSet, fold: Fold) -> Pool:
    """Rows by the fold's lists; all conditions of a listed photo come along. Raises DataSetError."""
    rows = resolve(fold, prepared)
    return Pool(rows.gallery, rows.probes)


class Bench:
    """A pool's embedded rows, to be compared condition by condition."""

    def __init__(self, embedded: Embedded, pool: Pool) -> None:
        self._embedded, self.pool = embedded, pool
        self.rows = embedded.prepared.rows

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The probes' conditions, NIR first, because that is what this is about."""
        found = {self.rows[int(i)].condition for i in self.pool.probes.made}
        return tuple(sorted(found, key=lambda c: (c.spectrum is not Spectrum.NIR, not c.masked)))

    @property
    def gallery_states(self) -> tuple[bool, ...]:
        """Whether the gallery has unmasked rows, masked rows or both: False before True."""
        return tuple(sorted({self.rows[int(i)].masked for i in self.pool.gallery.made}))

    def probes(self, condition: Condition) -> Ids:
        """Rows [n] of the probes of a condition."""
        return self._fitting(self.pool.probes.made, lambda row: row.condition == condition)

    def compare(self, condition: Condition, *, gallery_masked: bool = False) -> Comparison:
        """All probes of a condition, failed ones too, against the masked or the unmasked references."""
        lost = lost_in(self.pool.probes, self.rows, condition)
        return self.compare_rows(self.probes(condition), lost, gallery_masked=gallery_masked)

    def compare_rows(
        self, rows: Ids, lost: Sequence[Refused] = (), *, gallery_masked: bool = False
    ) -> Comparison:
        """These probes [n] and failures against the masked or the unmasked references."""
        gallery = self.pool.gallery
        mine = self._fitting(gallery.made, lambda row: row.masked == gallery_masked)
        spectra = {self.rows[int(i)].spectrum for i in mine}
        states = [Condition(spectrum, gallery_masked) for spectrum in sorted(spectra)]
        # By identity: one refused image may be missing in both spectra, and is one failure.
        failed = {id(r): r for state in states for r in lost_in(gallery, self.rows, state)}
        return Comparison(self._embedded.side(rows, lost), self._embedded.side(mine, tuple(failed.values())))

    def _fitting(self, made: Ids, fits: Callable[[Row], bool]) -> Ids:
        return np.array([i for i in made if fits(self.rows[int(i)])], np.int64)


def lost_in(role: Rows, rows: Sequence[Row], condition: Condition) -> tuple[Refused, ...]:
    """The images of a role that are missing in a condition.

    Every one that was refused in just this condition. And, once for each source, those that gave
    nothing at all, where this condition would have been made from them: they are of its spectrum, or
    the role has no row of theirs (pseudo-NIR whose visible photo had no face).
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
