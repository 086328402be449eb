"""Stores labelled pictures in memory-mapped parts; scenes are composed of them.

    part-00000.npy     uint8 [bytes], the pixels of its pictures one after another
    part-00000.jsonl   one line for each picture: its shape, its kind and its faces

A part is written whole, its list last. An incomplete set can be read, and continued.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from faces.files import write_array, write_whole
from faces.strict import Strict
from faces.types import Face, Pixels
from training.data.records import DataSetError

# `photo`: as taken; `drawn`: with a drawn mask; `nir`, `nir-drawn`: pseudo-NIR; `worn`: a real photo of a
# masked face; `nir-worn`: such a photo in pseudo-NIR; `empty`: a scene without faces.
Kind = Literal["photo", "drawn", "nir", "nir-drawn", "worn", "nir-worn", "empty"]
SOURCES_IN_PART = 128


class LabelledFace(Strict):
    """A labelled face, in pixels of the picture. `box`: left, top, width, height; `landmarks` as in
    `faces.types.Face`. `masked` is None if it is not known. If `sure` is False, training ignores the place:
    it is neither face nor background."""

    box: tuple[float, float, float, float]
    landmarks: Annotated[tuple[tuple[float, float], ...], Field(min_length=5, max_length=5)]
    masked: bool | None
    sure: bool = True

    @classmethod
    def of(cls, face: Face, *, masked: bool | None, sure: bool) -> LabelledFace:
        box = (face.box.x, face.box.y, face.box.width, face.box.height)
        return cls(box=box, landmarks=face.landmarks, masked=masked, sure=sure)


class Entry(Strict):
    """One picture of a part; `start` is the offset of its pixels."""

    source: str
    kind: Kind
    start: Annotated[int, Field(ge=0)]
    shape: tuple[int, ...]
    faces: tuple[LabelledFace, ...]


class Picture(Strict):
    """A picture with its faces. `pixels`: uint8 [h, w, 3] blue-green-red, or [h, w] grey."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    source: str
    kind: Kind
    pixels: Pixels
    faces: tuple[LabelledFace, ...]


def write_part(root: Path, number: int, pictures: Iterable[Picture]) -> None:
    """Writes one part, whole or not at all."""
    root.mkdir(parents=True, exist_ok=True)
    lines, flat, start = [], [], 0
    for one in pictures:
        shape = one.pixels.shape
        entry = Entry(source=one.source, kind=one.kind, start=start, shape=shape, faces=one.faces)
        lines.append(entry.model_dump_json() + "\n")
        flat.append(one.pixels.ravel())
        start += one.pixels.size
    write_array(root / f"part-{number:05d}.npy", np.concatenate([*flat, np.zeros(0, np.uint8)]))
    write_whole(root / f"part-{number:05d}.jsonl", "".join(lines).encode())


def make_parts(
    root: Path,
    sources: Iterable[Callable[[], Sequence[Picture]]],
    *,
    on_part: Callable[[int], None] | None = None,
) -> None:
    """Writes a part for every `SOURCES_IN_PART` sources, in order; skips parts that exist."""
    waiting, number = iter(sources), 0
    while chosen := list(islice(waiting, SOURCES_IN_PART)):
        if not (root / f"part-{number:05d}.jsonl").is_file():
            write_part(root, number, (picture for source in chosen for picture in source()))
        number += 1
        if on_part is not None:
            on_part(len(chosen))


class Pictures:
    """The pictures of all parts in one or several folders. Raises DataSetError if a folder has none."""

    def __init__(self, *roots: Path) -> None:
        self._entries: list[tuple[NDArray[np.uint8], Entry]] = []
        for root in roots:
            paths = sorted(root.glob("part-*.jsonl"))
            if not paths:
                raise DataSetError(f"{root.name} holds no pictures: make them with `detector pictures`")
            for path in paths:
                flat: NDArray[np.uint8] = np.load(path.with_suffix(".npy"), mmap_mode="r")
                lines = path.read_text(encoding="utf-8").splitlines()
                self._entries += [(flat, Entry.model_validate_json(line)) for line in lines]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return (entry for _, entry in self._entries)

    def entry(self, index: int) -> Entry:
        return self._entries[index][1]

    def pixels(self, index: int) -> Pixels:
        """Returns a view of the mapped part: uint8 [h, w, 3] or [h, w]."""
        flat, entry = self._entries[index]
        size = int(np.prod(entry.shape))
        return np.asarray(flat[entry.start : entry.start + size]).reshape(entry.shape)
