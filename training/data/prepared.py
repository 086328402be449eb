"""A prepared set: aligned crops in memory-mapped shards, and one row of facts for each.

    set.json            what the set is: alignment, how it was made
    rows.jsonl          one line for each crop, in the order of the shards
    refused.jsonl       one line for each image that gave no crop, and why
    shard-00000.npy     uint8 [n, side, side, 3], blue-green-red

Every file is written atomically, so a power failure does not lose a set in the making. `read_prepared`
reads a set, `training.data.set_writer` writes one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from faces.strict import Strict, strip_prefix
from faces.types import Condition, Pixels, Spectrum
from training.data.records import DataSetError

SET_FILE, ROWS_FILE, REFUSED_FILE = "set.json", "rows.jsonl", "refused.jsonl"
SHARD_ROWS = 1024

Split = Literal["train", "validation", "test", "none"]
Role = Literal["gallery", "probe", "none"]
# Indices of rows: int64 [n].
Indices = NDArray[np.int64]


Model = TypeVar("Model", bound=BaseModel)


class SetInfo(Strict):
    """What a prepared set is. `made_by`: the command, without paths of the machine."""

    format: Literal[1] = 1
    name: str
    alignment: str
    side_px: Annotated[int, Field(ge=16, le=512)]
    made_by: str
    synthetic: str | None = None


class Row(Strict):
    """One crop. `source`: relative path of its picture, with `/`. Crops of one source are one photo in
    several conditions, and never a probe and its reference.

    `mask`, `generator`: how a synthetic mask or spectrum was made; None if it is real.
    `landmarks`: five points in the crop's pixels. `group`: of people (such as East Asian), if somebody
    labelled it; thresholds must hold within each.
    """

    source: str
    subject: str
    spectrum: Spectrum
    masked: bool = False
    split: Split = "none"
    role: Role = "none"
    mask: str | None = None
    generator: str | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None
    group: str | None = None

    @property
    def condition(self) -> Condition:
        return Condition(self.spectrum, self.masked)


class Refused(Strict):
    """One image without a crop; it counts in denominators as a failure to acquire."""

    source: str
    subject: str
    spectrum: Spectrum
    code: Literal["missing", "undecodable", "no_face", "too_small"]
    detail: str
    masked: bool = False
    split: Split = "none"
    role: Role = "none"


def existing_shards(root: Path, count: int) -> list[Path]:
    """The files that hold `count` crops. Raises DataSetError if one is missing."""
    paths = [root / shard_name(i) for i in range(-(-count // SHARD_ROWS))]
    for path in paths:
        if not path.is_file():
            raise DataSetError(f"{root.name}: {path.name} is missing: prepare the set again")
    return paths


class Shards:
    """The crops of a set of `count` rows, mapped into memory."""

    def __init__(self, root: Path, count: int) -> None:
        """Raises DataSetError if a shard is missing."""
        self.count = count
        self._mapped: list[Pixels] = [np.load(path, mmap_mode="r") for path in existing_shards(root, count)]

    def crop(self, index: int) -> Pixels:
        """uint8 [side, side, 3], a view of the mapped shard."""
        if not 0 <= index < self.count:
            raise IndexError(f"row {index} of {self.count}")
        pixels: Pixels = self._mapped[index // SHARD_ROWS][index % SHARD_ROWS]
        return pixels

    def crops(self, indices: Sequence[int] | NDArray[np.integer]) -> Pixels:
        """uint8 [n, side, side, 3], copied."""
        return np.stack([self.crop(int(i)) for i in indices])


@dataclass(frozen=True)
class PreparedSet:
    """Rows and their crops; `crop(i)` holds the pixels of row i."""

    root: Path
    info: SetInfo
    rows: tuple[Row, ...]
    refused: tuple[Refused, ...]

    @cached_property
    def _shards(self) -> Shards:
        return Shards(self.root, len(self.rows))

    def crop(self, index: int) -> Pixels:
        """uint8 [side, side, 3], a view of the mapped shard."""
        return self._shards.crop(index)

    def crops(self, indices: Sequence[int] | NDArray[np.integer]) -> Pixels:
        """uint8 [n, side, side, 3], copied."""
        return self._shards.crops(indices)

    def select(
        self,
        *,
        split: Split | None = None,
        role: Role | None = None,
        spectrum: Spectrum | None = None,
        masked: bool | None = None,
    ) -> Indices:
        """Indices of the rows that match, in order."""
        return np.array(
            [
                i
                for i, row in enumerate(self.rows)
                if (split is None or row.split == split)
                and (role is None or row.role == role)
                and (spectrum is None or row.spectrum == spectrum)
                and (masked is None or row.masked == masked)
            ],
            np.int64,
        )


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.npy"


def read_prepared(root: Path) -> PreparedSet:
    """Reads a set. Raises DataSetError naming the missing file or the wrong line."""
    info = read_info(root)
    rows = tuple(stream_rows(root))
    refused = tuple(_parse(root / REFUSED_FILE, Refused))
    existing_shards(root, len(rows))
    return PreparedSet(root, info, rows, refused)


def read_info(root: Path) -> SetInfo:
    """Reads what a finished set is. Raises DataSetError."""
    try:
        return SetInfo.model_validate_json((root / SET_FILE).read_bytes())
    except OSError as error:
        raise DataSetError(
            f"{root.name}: no {SET_FILE}, so no finished prepared set: run `python -m training prepare`"
        ) from error
    except ValidationError as error:
        raise DataSetError(f"{root.name}/{SET_FILE}: {strip_prefix(error.errors()[0]['msg'])}") from error


def stream_rows(root: Path) -> Iterator[Row]:
    """Yields the rows, for sets of millions, since a row takes 2 kB of memory. Raises DataSetError."""
    return _parse(root / ROWS_FILE, Row)


def _parse(path: Path, kind: type[Model]) -> Iterator[Model]:
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    yield kind.model_validate_json(line)
                except ValueError as error:
                    raise DataSetError(f"{path.name}, line {number}: {error}") from error
    except OSError as error:
        raise DataSetError(f"{path.name} is missing: prepare the set again") from error
