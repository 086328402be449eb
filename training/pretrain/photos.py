"""The VIS photos of a prepared set's training subjects as arrays, so that millions fit in memory."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.align import ALIGNMENTS
from faces.types import Spectrum
from training.data.digests import file_digest
from training.data.prepared import ROWS_FILE, Indices, Row, SetInfo, Shards, read_info, stream_rows
from training.data.records import DataSetError

NONE = -1
UNKNOWN = (float("nan"),) * 10


@dataclass(frozen=True, slots=True, eq=False)
class Photos:
    """One entry for each photo. `label` [n]: its subject's index in `subjects`; `plain`, `worn` [n]: rows of
    the crop without and with a mask, NONE if the set has none; `landmarks` float32 [n, 5, 2]: in pixels of
    the plain crop, NaN if the set has none. `digest`: of the file of rows."""

    info: SetInfo
    shards: Shards
    subjects: tuple[str, ...]
    label: Indices
    plain: Indices
    worn: Indices
    landmarks: NDArray[np.float32]
    digest: str

    def __len__(self) -> int:
        return len(self.label)

    def keep(self, chosen: NDArray[np.bool_]) -> Photos:
        """The chosen photos [n] and their subjects. Raises DataSetError if no photo is chosen."""
        if not chosen.any():
            raise DataSetError(f"{self.info.name}: no photo is left to learn from")
        left, label = np.unique(self.label[chosen], return_inverse=True)
        return Photos(
            self.info,
            self.shards,
            tuple(self.subjects[i] for i in left),
            label.astype(np.int64),
            self.plain[chosen],
            self.worn[chosen],
            self.landmarks[chosen],
            self.digest,
        )


class _Columns:
    """Columns of `Photos`, collected row by row."""

    def __init__(self) -> None:
        self.subjects: dict[str, int] = {}
        self.label, self.plain, self.worn = array("q"), array("q"), array("q")
        self.landmarks = array("f")
        self._places: dict[str, int] = {}

    def add(self, number: int, row: Row) -> None:
        """Adds a crop; crops of one source are one photo. Raises DataSetError if it shows two subjects."""
        subject = self.subjects.setdefault(row.subject, len(self.subjects))
        place = self._places.setdefault(row.source, len(self.label))
        if place == len(self.label):
            self.label.append(subject)
            self.plain.append(NONE)
            self.worn.append(NONE)
            self.landmarks.extend(UNKNOWN)
        elif self.label[place] != subject:
            raise DataSetError(f"{row.source} shows two subjects: one photo has one label")
        rows = self.worn if row.masked else self.plain
        if rows[place] != NONE:
            return
        rows[place] = number
        if not row.masked and row.landmarks is not None and len(row.landmarks) == 5:
            flat = [value for point in row.landmarks for value in point]
            self.landmarks[10 * place : 10 * place + 10] = array("f", flat)


def read_photos(root: Path, *, min_photos: int = 1) -> Photos:
    """The VIS photos of the train split. Raises DataSetError if fewer than two subjects are left."""
    info, columns, count = read_info(root), _Columns(), 0
    for number, row in enumerate(stream_rows(root)):
        count = number + 1
        if row.split == "train" and row.spectrum is Spectrum.VIS:
            columns.add(number, row)
    found = Photos(
        info,
        Shards(root, count),
        tuple(columns.subjects),
        np.array(columns.label, np.int64),
        np.array(columns.plain, np.int64),
        np.array(columns.worn, np.int64),
        np.array(columns.landmarks, np.float32).reshape(-1, 5, 2),
        file_digest(root / ROWS_FILE),
    )
    enough = np.bincount(found.label, minlength=len(found.subjects)) >= min_photos
    kept = found.keep(enough[found.label])
    if len(kept.subjects) < 2:
        raise DataSetError(
            f"{info.name}: one subject with {min_photos} VIS photos cannot be told from others"
        )
    return kept


def check_alignment(photos: Photos, alignment: str) -> None:
    """Accepts another size of the same template, to resize. Raises DataSetError for another template."""
    have, want = ALIGNMENTS.get(photos.info.alignment), ALIGNMENTS.get(alignment)
    if have is None or want is None or not np.allclose(have.scaled(want.side_px).points, want.points):
        raise DataSetError(
            f"{photos.info.name} is aligned to {photos.info.alignment}, the network wants {alignment}"
        )
