"""Embeds the crops of a prepared set once, for all comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from faces.rates.scores import Ids, Side, Vectors
from faces.types import CONDITIONS, Condition, Role
from training.data.prepared import PreparedSet, Refused, Row
from training.data.records import DataSetError
from training.networks.crop_encoder import CropEncoder, embed_as

CROPS_AT_ONCE = 128


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Templates of some rows of a prepared set.

    `templates`: float32 [n, d]. `place`: int64 [rows], the index of a row's template, -1 for none.
    `numbers`: a number for every subject of the set, the refused ones included, in order of name.
    """

    prepared: PreparedSet
    templates: Vectors
    place: Ids
    numbers: Mapping[str, int]

    def side(self, rows: Ids, refused: Iterable[Refused] = ()) -> Side:
        """Returns these rows [n] and failures as a side.

        Raises ValueError for a row that was not embedded.
        """
        places = self.place[rows]
        if (places < 0).any():
            raise ValueError("a row of this side was not embedded")
        facts = [self.prepared.rows[int(i)] for i in rows]
        return Side(
            self.templates[places],
            np.array([self.numbers[row.subject] for row in facts], np.int64),
            tuple(row.source for row in facts),
            np.array([self.numbers[lost.subject] for lost in refused], np.int64),
        )


def _is_of(row: Row, role: Role, condition: Condition) -> bool:
    return row.condition == condition and (row.role == "gallery") == (role is Role.REFERENCE)


def embed(
    encoder: CropEncoder,
    prepared: PreparedSet,
    rows: Ids,
    *,
    on_done: Callable[[int], None] | None = None,
) -> Embedded:
    """Embeds these rows [n]; `on_done` takes the number of crops after each batch.

    Raises DataSetError if there are no rows, or if the set's alignment is not the encoder's: its scores
    would drift unnoticed.
    """
    if prepared.info.alignment != encoder.alignment:
        raise DataSetError(
            f"{prepared.info.name} is aligned to {prepared.info.alignment}, {encoder.name} wants"
            f" {encoder.alignment}: prepare the set with that alignment"
        )
    rows = np.unique(rows)
    if not len(rows):
        raise DataSetError(f"{prepared.info.name}: none of its rows are to be compared")
    place = np.full(len(prepared.rows), -1, np.int64)
    done: list[Vectors] = []
    count = 0
    for role, condition in product(Role, CONDITIONS):
        mine = np.array([i for i in rows if _is_of(prepared.rows[int(i)], role, condition)], np.int64)
        for start in range(0, len(mine), CROPS_AT_ONCE):
            batch = mine[start : start + CROPS_AT_ONCE]
            done.append(embed_as(encoder, prepared.crops(batch), role, condition))
            place[batch] = count + np.arange(len(batch))
            count += len(batch)
            if on_done is not None:
                on_done(len(batch))
    everybody = {row.subject for row in prepared.rows} | {lost.subject for lost in prepared.refused}
    numbers = {name: i for i, name in enumerate(sorted(everybody))}
    return Embedded(prepared, np.concatenate(done), place, numbers)
