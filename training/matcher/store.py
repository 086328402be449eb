"""The cache of a fine-tuning run: frames, normal maps and mask layers, mapped into memory.

frames.u8     [photos, 144, 144, 3]        blue-green-red
normals.i8    [photos, 48, 48, 4]          zeros where no mesh fits
through.u8    [masks, 144, 144]            see `training.matcher.mask_layers.Layer`
cloth.u8      [masks, 144, 144, 3]
photos.jsonl, masks.jsonl                  one line each
store.json    written last: only a whole cache can be read
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from faces.files import write_whole
from faces.strict import Strict
from faces.types import Pixels, Spectrum
from training.data.records import DataSetError
from training.matcher.frames import FRAME_PX
from training.matcher.mask_layers import Layer
from training.matcher.people import Part

CELLS = 48
FRAMES, NORMALS, THROUGH, CLOTH = "frames.u8", "normals.i8", "through.u8", "cloth.u8"
PHOTOS, MASKS, FACTS = "photos.jsonl", "masks.jsonl", "store.json"
AREA = FRAME_PX * FRAME_PX
ROW_BYTES = {FRAMES: 3 * AREA, NORMALS: 4 * CELLS * CELLS, THROUGH: AREA, CLOTH: 3 * AREA}


class PhotoRow(Strict):
    """One photo. `landmarks`: five points in the frame's pixels."""

    source: str
    subject: str
    of_set: str
    group: str
    terms: str
    part: Part
    masked: bool
    landmarks: tuple[tuple[float, float], ...]
    spectrum: Spectrum = Spectrum.VIS

    @property
    def reference(self) -> bool:
        """Whether the photo can be a reference: visible, without a real mask."""
        return not self.masked and self.spectrum is Spectrum.VIS


class MaskRow(Strict):
    """One mask layer and the photo that it fits."""

    photo: int
    kind: str
    label: str


class StoreFacts(Strict):
    """How many rows a cache has, and the photos without a face."""

    format: int = 1
    photos: int
    masks: int
    refused: int


class StoreWriter:
    """Appends photos one by one; `close` makes the cache readable.

    `more`: adds to a finished cache. Killed before `close`, it leaves rows that no list counts: the cache
    cannot be read until the photos are added again, which drops those rows first.
    """

    def __init__(self, root: Path, *, more: bool = False) -> None:
        """Raises DataSetError where there is nothing to add to."""
        root.mkdir(parents=True, exist_ok=True)
        had = _facts(root) if more else StoreFacts(photos=0, masks=0, refused=0)
        if not more:
            (root / FACTS).unlink(missing_ok=True)
        self._root, self._photos, self._masks, self.refused = root, had.photos, had.masks, had.refused
        self._streams = {name: (root / name).open("ab") for name in (*ROW_BYTES, PHOTOS, MASKS)}
        for name, stream in self._streams.items():
            stream.truncate(_length(root / name, had))

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self._streams.values():
            stream.close()

    def add(self, row: PhotoRow, frame: Pixels, normals: NDArray[np.int8], layers: Iterable[Layer]) -> None:
        """`frame` [144, 144, 3], `normals` [48, 48, 4]."""
        self._write(FRAMES, frame)
        self._write(NORMALS, normals)
        self._streams[PHOTOS].write(row.model_dump_json().encode() + b"\n")
        for layer in layers:
            self._write(THROUGH, layer.through)
            self._write(CLOTH, layer.cloth)
            mask = MaskRow(photo=self._photos, kind=layer.kind, label=layer.label)
            self._streams[MASKS].write(mask.model_dump_json().encode() + b"\n")
            self._masks += 1
        self._photos += 1

    def _write(self, name: str, array: NDArray[np.generic]) -> None:
        self._streams[name].write(np.ascontiguousarray(array).tobytes())

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()
        facts = StoreFacts(photos=self._photos, masks=self._masks, refused=self.refused)
        write_whole(self._root / FACTS, facts.model_dump_json().encode())


class Store:
    """A finished cache."""

    def __init__(self, root: Path) -> None:
        """Raises DataSetError where it is not whole."""
        self.facts = _facts(root)
        try:
            self.photos = tuple(PhotoRow(**json.loads(line)) for line in _lines(root / PHOTOS))
            self.masks = tuple(MaskRow(**json.loads(line)) for line in _lines(root / MASKS))
        except (OSError, ValidationError) as error:
            raise DataSetError(f"{root.name}: a list cannot be read: {error}") from error
        if (len(self.photos), len(self.masks)) != (self.facts.photos, self.facts.masks):
            raise DataSetError(f"{root.name}: photos were added halfway: run `matcher cache` again")
        count, worn = len(self.photos), len(self.masks)
        side = FRAME_PX
        self.root = root
        self.frames = _mapped(root / FRAMES, np.uint8, (count, side, side, 3))
        self.normals = _mapped(root / NORMALS, np.int8, (count, CELLS, CELLS, 4))
        self.through = _mapped(root / THROUGH, np.uint8, (worn, side, side))
        self.cloth = _mapped(root / CLOTH, np.uint8, (worn, side, side, 3))


def _facts(root: Path) -> StoreFacts:
    try:
        return StoreFacts.model_validate_json((root / FACTS).read_bytes())
    except (OSError, ValidationError) as error:
        raise DataSetError(f"{root.name} is no finished cache: run `matcher cache` again") from error


def _length(path: Path, facts: StoreFacts) -> int:
    """Bytes of a file that belong to the rows of `facts`."""
    count = facts.photos if path.name in (FRAMES, NORMALS, PHOTOS) else facts.masks
    if path.name in ROW_BYTES:
        return count * ROW_BYTES[path.name]
    return sum(len(line) for line in path.read_bytes().splitlines(keepends=True)[:count])


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def _mapped(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> NDArray[np.generic]:
    if not path.is_file() or path.stat().st_size != int(np.prod(shape)):
        raise DataSetError(f"{path.name} does not have the rows that the list names: make the cache again")
    if shape[0] == 0:
        return np.zeros(shape, kind)
    return np.memmap(path, kind, "r", shape=shape)
