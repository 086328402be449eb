"""Scenes composed of labelled pictures: mosaics of faces from a few pixels to the whole frame.

Everything is drawn from one random generator, so a scene can be made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from faces.strict import Strict
from faces.types import Pixels
from training.detector.choice import Choice, HardPlace
from training.detector.clutter import scribble
from training.detector.pictures import Kind, Known, Pictures
from training.detector.placing import aim, beside, cover, in_sight, moved, occlude, stretch, warp

Share = Annotated[float, Field(ge=0, le=1)]
Floats = NDArray[np.float64]
# How often a picture's first face is aimed at, whatever others there are.
FIRST_SHARE = 0.6
# How much smaller or larger a place that was taken for a face is shown.
HARD_BY = (0.6, 1.8)


class ScenesConfig(Strict):
    """`grids`: how often a scene has 1, 2, 3 ... pictures in a row; `kinds`: how often a picture is of each
    kind. `smallest_px`: shorter faces are left out. `padded`: how often the scene ends in black, as in a
    canvas; `occluded`: how often something lies over a face; `clear`: how often a place shows a part of a
    photo beside its faces, as hair, clothes or letters: what is taken for a face most often.
    `hard`: how often a place shows what a detector took for a face, where such places are given;
    `scribbled`: how often letters, balls and patches are drawn where there is no face; `roomy`, `crowded`:
    how often a picture is one with room around its faces, or with several."""

    grids: tuple[Annotated[float, Field(ge=0)], ...] = (0.36, 0.27, 0.18, 0.12, 0.07)
    kinds: dict[Kind, Annotated[float, Field(ge=0)]] = {
        "photo": 0.34,
        "drawn": 0.15,
        "nir": 0.12,
        "nir-drawn": 0.17,
        "worn": 0.17,
        "empty": 0.05,
    }
    smallest_px: Annotated[float, Field(gt=0)] = 8.0
    padded: Share = 0.12
    occluded: Share = 0.15
    clear: Share = 0.2
    hard: Share = 0.0
    scribbled: Share = 0.0
    roomy: Share = 0.0
    crowded: Share = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Faces of a scene in its pixels. `boxes` [n, 4] as left, top, right, bottom; `landmarks` [n, 5, 2];
    `masked` [n]: 1, 0, or -1 where nobody knows; `sure` [n]."""

    boxes: Floats
    landmarks: Floats
    masked: NDArray[np.int8]
    sure: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """`pixels`: uint8 [side, side, 3]."""

    pixels: Pixels
    faces: Placed


@dataclass(frozen=True, slots=True)
class _Cell:
    left: int
    top: int
    width: int
    height: int


class Composer:
    """Makes scenes of `side_px` squared."""

    def __init__(
        self, pictures: Pictures, config: ScenesConfig, side_px: int, *, hard: Sequence[HardPlace] = ()
    ) -> None:
        self._pictures, self._config, self._side = pictures, config, side_px
        self._choice = Choice(
            pictures, config.kinds, roomy=config.roomy, crowded=config.crowded, hard=(config.hard, hard)
        )
        self._grids = np.array(config.grids) / sum(config.grids)

    def scene(self, rng: np.random.Generator) -> Scene:
        """One scene, before any camera (`training.detector.camera`)."""
        side = self._side
        width = height = side
        if rng.random() < self._config.padded:
            width, height = (int(v) for v in rng.uniform(0.5, 1.0, 2) * side)
        count = 1 + int(rng.choice(len(self._grids), p=self._grids))
        canvas = np.zeros((side, side, 3), np.uint8)
        faces: list[Known] = []
        for cell in _cells(width, height, count, rng):
            view = canvas[cell.top : cell.top + cell.height, cell.left : cell.left + cell.width]
            faces.extend(_shifted(face, cell) for face in self._fill(view, rng))
        return Scene(canvas, placed(faces))

    def _fill(self, view: Pixels, rng: np.random.Generator) -> list[Known]:
        """Put a picture into a place of the canvas; the faces in the place's pixels."""
        index, hard = self._choice.draw(rng)
        pixels, entry = self._pictures.pixels(index), self._pictures.entry(index)
        if hard is None and entry.faces and rng.random() < self._config.clear:
            part = beside(entry, view.shape, rng)
            if part is not None:
                stretch(view, pixels[part])
                self._scribble(view, rng)
                return []
        self._ground(view, rng)
        sure = [face for face in entry.faces if face.sure]
        if hard is not None:
            matrix, mirrored = aim(hard, view.shape, rng, by=HARD_BY)
        elif sure:
            # The first face is the largest, and the one that may wear a mask; the others are harder.
            aimed = sure[0] if rng.random() < FIRST_SHARE else sure[int(rng.integers(len(sure)))]
            matrix, mirrored = aim(aimed.box, view.shape, rng)
        else:
            return self._without_faces(view, index, rng)
        warp(view, pixels, matrix)
        there = (moved(face, matrix, mirrored=mirrored) for face in entry.faces)
        kept = [seen for face in there if (seen := in_sight(face, view.shape)) is not None]
        kept = [self._big_enough(face) for face in kept]
        for face in kept:
            if face.sure and rng.random() < self._config.occluded:
                occlude(view, face, rng)
        return kept

    def _big_enough(self, face: Known) -> Known:
        small = min(face.box[2:]) < self._config.smallest_px
        return face.model_copy(update={"sure": False}) if small else face

    def _without_faces(self, view: Pixels, index: int, rng: np.random.Generator) -> list[Known]:
        """A part of a picture that has no sure face, and touches no doubtful one. Where none is found the
        whole is shown, and teaches nothing."""
        pixels, entry = self._pictures.pixels(index), self._pictures.entry(index)
        if not entry.faces:
            cover(view, pixels, rng)
        elif (part := beside(entry, view.shape, rng)) is not None:
            stretch(view, pixels[part])
        else:
            cover(view, pixels, rng)
            return [_whole(view)]
        self._scribble(view, rng)
        return []

    def _scribble(self, view: Pixels, rng: np.random.Generator) -> None:
        """On a view without faces."""
        if self._config.scribbled and rng.random() < self._config.scribbled:
            scribble(view, rng)

    def _ground(self, view: Pixels, rng: np.random.Generator) -> None:
        """What shows where the picture ends: a scene without faces, or one colour."""
        if (empty := self._choice.of.get("empty")) and rng.random() < 0.6:
            cover(view, self._pictures.pixels(empty[int(rng.integers(len(empty)))]), rng)
            # Whatever might be a face in it would be seen: it is blurred away.
            view[:] = cv2.blur(view, (7, 7))
        else:
            view[:] = rng.integers(0, 256, 3) if rng.random() < 0.7 else int(rng.integers(256))


def placed(faces: list[Known]) -> Placed:
    """Labels as arrays."""
    boxes = np.array([face.box for face in faces], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Placed(
        boxes,
        np.array([face.landmarks for face in faces], np.float64).reshape(-1, 5, 2),
        np.array([-1 if face.masked is None else face.masked for face in faces], np.int8),
        np.array([face.sure for face in faces], np.bool_),
    )


def _cells(width: int, height: int, count: int, rng: np.random.Generator) -> list[_Cell]:
    """A grid of `count` by `count` places with uneven edges."""

    def edges(length: int) -> NDArray[np.int64]:
        even = np.linspace(0, length, count + 1)
        even[1:-1] += rng.uniform(-0.2, 0.2, count - 1) * length / count
        return np.round(even).astype(np.int64)

    x, y = edges(width), edges(height)
    spans = [(int(x[i]), int(y[j]), int(x[i + 1]), int(y[j + 1])) for j in range(count) for i in range(count)]
    return [_Cell(left, top, right - left, bottom - top) for left, top, right, bottom in spans]


def _whole(view: Pixels) -> Known:
    height, width = view.shape[:2]
    middle = ((width / 2, height / 2),) * 5
    return Known(box=(0.0, 0.0, float(width), float(height)), landmarks=middle, masked=None, sure=False)


def _shifted(face: Known, cell: _Cell) -> Known:
    x, y, w, h = face.box
    landmarks = tuple((px + cell.left, py + cell.top) for px, py in face.landmarks)
    return face.model_copy(update={"box": (x + cell.left, y + cell.top, w, h), "landmarks": landmarks})
