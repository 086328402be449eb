"""Defines the files in which the service gives its enrolled crops to a training process.

    crops-00000.npy    uint8 [n, side, side, 3], blue-green-red
    rows.json          one row of facts for each crop, in order; written last

Subjects and samples are numbers: training does not need their identifiers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, ValidationError

from faces.files import write_array, write_json
from faces.strict import Strict
from faces.types import Pixels, Spectrum

ROWS = "rows.json"


class EnrolledRow(Strict):
    """The facts of one crop. `sample` and `subject` are numbers within the whole set."""

    subject: Annotated[int, Field(ge=0)]
    sample: Annotated[int, Field(ge=0)]
    spectrum: Spectrum
    masked: bool


class EnrolledIndex(Strict):
    """All rows, and the number of rows of each file of crops."""

    alignment: str
    files: tuple[int, ...]
    rows: tuple[EnrolledRow, ...]


class EnrolledWriter:
    """Writes crops in order, a file at a time; the set cannot be read before `close`."""

    def __init__(self, directory: Path, alignment: str) -> None:
        self._directory, self._alignment = directory, alignment
        self._files: list[int] = []
        self._rows: list[EnrolledRow] = []
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def add(self, rows: list[EnrolledRow], crops: list[Pixels]) -> None:
        """Writes one file of crops, uint8 [side, side, 3] each."""
        if not rows:
            return
        write_array(self._directory / _name(len(self._files)), np.stack(crops))
        self._files.append(len(rows))
        self._rows += rows

    def close(self) -> None:
        index = EnrolledIndex(alignment=self._alignment, files=tuple(self._files), rows=tuple(self._rows))
        write_json(self._directory / ROWS, index.model_dump(mode="json"))


def is_written(directory: Path) -> bool:
    return (directory / ROWS).is_file()


def read_enrolled(directory: Path) -> tuple[str, Iterator[tuple[EnrolledRow, Pixels]]]:
    """Returns the alignment, and every row with its crop. Raises ValueError if the files are incomplete."""
    try:
        index = EnrolledIndex.model_validate_json((directory / ROWS).read_bytes())
    except (OSError, ValidationError) as error:
        raise ValueError("the enrolled crops were not written whole") from error
    return index.alignment, _crops(directory, index)


def _crops(directory: Path, index: EnrolledIndex) -> Iterator[tuple[EnrolledRow, Pixels]]:
    start = 0
    for number, count in enumerate(index.files):
        crops = np.load(directory / _name(number), allow_pickle=False)
        if len(crops) != count:
            raise ValueError("a file of enrolled crops is not whole")
        yield from zip(index.rows[start : start + count], crops, strict=True)
        start += count


def _name(number: int) -> str:
    return f"crops-{number:05d}.npy"
