"""Writes prepared sets; see `training.data.prepared` for the format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from faces.files import write_array, write_whole
from faces.types import Pixels
from training.data.prepared import (
    REFUSED_FILE,
    ROWS_FILE,
    SET_FILE,
    SHARD_ROWS,
    PreparedSet,
    Refused,
    Row,
    SetInfo,
    read_prepared,
    shard_name,
)


def write_shard(root: Path, number: int, crops: Pixels) -> None:
    """Writes one shard [n, side, side, 3]; all but the last hold SHARD_ROWS."""
    write_array(root / shard_name(number), crops)


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """One crop [side, side, 3] and its row."""

    row: Row
    crop: Pixels


class SetWriter:
    """Collects rows and crops in order; `close` makes the set readable."""

    def __init__(self, root: Path, info: SetInfo) -> None:
        root.mkdir(parents=True, exist_ok=True)
        (root / SET_FILE).unlink(missing_ok=True)
        self._root, self._info = root, info
        self._rows: list[Row] = []
        self._refused: list[Refused] = []
        self._waiting: list[Pixels] = []

    def add(self, row: Row, crop: Pixels) -> None:
        """Adds a crop. Raises ValueError if it does not have the set's size."""
        side = self._info.side_px
        if crop.shape != (side, side, 3) or crop.dtype != np.uint8:
            raise ValueError(
                f"a crop of this set is uint8 [{side}, {side}, 3], got {crop.dtype} {crop.shape}"
            )
        self._rows.append(row)
        self._waiting.append(crop.copy())
        if len(self._waiting) == SHARD_ROWS:
            self._flush()

    def refuse(self, refused: Refused) -> None:
        self._refused.append(refused)

    def take(self, items: Iterable[Made | Refused]) -> None:
        """Adds crops and refusals in order. Raises ValueError as `add` does."""
        for item in items:
            if isinstance(item, Made):
                self.add(item.row, item.crop)
            else:
                self.refuse(item)

    def _flush(self) -> None:
        if self._waiting:
            write_shard(self._root, (len(self._rows) - 1) // SHARD_ROWS, np.stack(self._waiting))
            self._waiting.clear()

    def close(self) -> PreparedSet:
        """Writes the rest; `set.json` comes last, so that only a complete set can be read."""
        self._flush()
        write_whole(self._root / ROWS_FILE, _lines(self._rows))
        write_whole(self._root / REFUSED_FILE, _lines(self._refused))
        write_whole(self._root / SET_FILE, (self._info.model_dump_json(indent=1) + "\n").encode())
        return read_prepared(self._root)


def _lines(rows: Iterable[BaseModel]) -> bytes:
    return b"".join(row.model_dump_json(exclude_defaults=True).encode() + b"\n" for row in rows)
