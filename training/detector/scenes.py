"""Composes scenes of labelled pictures: mosaics of faces from a few pixels to the whole frame.

A scene depends on the state of one random generator only, so it can be repeated.
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
from training.detector.clutter import draw_clutter
from training.detector.pictures import Kind, LabelledFace, Pictures
from training.detector.placement import (
    clip_to_view,
    fill_with,
    fill_with_random_part,
    find_free_part,
    occlude,
    random_similarity,
    smear_border,
    transform_face,
    warp_into,
)
from training.detector.sampler import HardNegative, PictureSampler

Share = Annotated[float, Field(ge=0, le=1)]
Floats = NDArray[np.float64]
# The probability that a view is centred on a picture's first face; else on any of its sure faces.
FIRST_SHARE = 0.6
# The range of scales at which a hard negative is shown.
HARD_BY = (0.6, 1.8)


class ScenesConfig(Strict):
    """Probabilities of what a scene shows.

    `grids`: weights of 1, 2, 3 ... pictures in a row; `kinds`: weights of the kinds of pictures.
    `smallest_px`: smaller faces become doubtful. `padded`: the scene ends in black, as in a canvas;
    `occluded`: something covers a part of a face; `clear`: a cell shows a part of a photo without its
    faces, such as hair, clothes or letters, which are the most frequent false positives. `hard`: a cell
    shows a hard negative, if there are any; `scribbled`: clutter is drawn where there is no face; `roomy`,
    `crowded`: the picture has room around its faces, or several faces. `smeared`: behind a picture lies
    its own border, drawn out and blurred, as cropped photos are padded.
    """

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
    smeared: Share = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class FaceArrays:
    """Faces of a scene, in its pixels. `boxes` [n, 4] as left, top, right, bottom; `landmarks` [n, 5, 2];
    `masked` [n]: 1, 0, or -1 if unknown; `sure` [n]."""

    boxes: Floats
    landmarks: Floats
    masked: NDArray[np.int8]
    sure: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Pixels, uint8 [side, side, 3], and labels."""

    pixels: Pixels
    faces: FaceArrays


@dataclass(frozen=True, slots=True)
class _Cell:
    left: int
    top: int
    width: int
    height: int


class Composer:
    """Makes scenes of `side_px` squared."""

    def __init__(
        self, pictures: Pictures, config: ScenesConfig, side_px: int, *, hard: Sequence[HardNegative] = ()
    ) -> None:
        self._pictures, self._config, self._side = pictures, config, side_px
        self._sampler = PictureSampler(
            pictures, config.kinds, roomy=config.roomy, crowded=config.crowded, hard=(config.hard, hard)
        )
        self._grids = np.array(config.grids) / sum(config.grids)

    def scene(self, rng: np.random.Generator) -> Scene:
        """Returns one scene, without the effects of `training.detector.camera`."""
        side = self._side
        width = height = side
        if rng.random() < self._config.padded:
            width, height = (int(v) for v in rng.uniform(0.5, 1.0, 2) * side)
        count = 1 + int(rng.choice(len(self._grids), p=self._grids))
        canvas = np.zeros((side, side, 3), np.uint8)
        faces: list[LabelledFace] = []
        for cell in _cells(width, height, count, rng):
            view = canvas[cell.top : cell.top + cell.height, cell.left : cell.left + cell.width]
            faces.extend(_shifted(face, cell) for face in self._fill_cell(view, rng))
        return Scene(canvas, face_arrays(faces))

    def _fill_cell(self, view: Pixels, rng: np.random.Generator) -> list[LabelledFace]:
        """Puts a picture into a view; returns its faces in pixels of the view."""
        index, hard = self._sampler.draw(rng)
        pixels, entry = self._pictures.pixels(index), self._pictures.entry(index)
        if hard is None and entry.faces and rng.random() < self._config.clear:
            part = find_free_part(entry, view.shape, rng)
            if part is not None:
                fill_with(view, pixels[part])
                self._draw_clutter(view, rng)
                return []
        self._fill_background(view, rng)
        sure = [face for face in entry.faces if face.sure]
        if hard is not None:
            matrix, mirrored = random_similarity(hard, view.shape, rng, by=HARD_BY)
        elif sure:
            # The first face is the largest, and the only one that may wear a mask; the others are harder.
            aimed = sure[0] if rng.random() < FIRST_SHARE else sure[int(rng.integers(len(sure)))]
            matrix, mirrored = random_similarity(aimed.box, view.shape, rng)
        else:
            return self._fill_without_faces(view, index, rng)
        # Drawn only where asked for, so that the scenes of the older recipes stay what they were.
        if self._config.smeared and rng.random() < self._config.smeared:
            smear_border(view, pixels, matrix, rng)
        warp_into(view, pixels, matrix)
        there = (transform_face(face, matrix, mirrored=mirrored) for face in entry.faces)
        kept = [seen for face in there if (seen := clip_to_view(face, view.shape)) is not None]
        kept = [self._mark_small(face) for face in kept]
        for face in kept:
            if face.sure and rng.random() < self._config.occluded:
                occlude(view, face, rng)
        return kept

    def _mark_small(self, face: LabelledFace) -> LabelledFace:
        small = min(face.box[2:]) < self._config.smallest_px
        return face.model_copy(update={"sure": False}) if small else face

    def _fill_without_faces(self, view: Pixels, index: int, rng: np.random.Generator) -> list[LabelledFace]:
        """Shows a part of a picture without a sure face that touches no doubtful face either.

        If it finds none, it shows the whole picture as one doubtful face.
        """
        pixels, entry = self._pictures.pixels(index), self._pictures.entry(index)
        if not entry.faces:
            fill_with_random_part(view, pixels, rng)
        elif (part := find_free_part(entry, view.shape, rng)) is not None:
            fill_with(view, pixels[part])
        else:
            fill_with_random_part(view, pixels, rng)
            return [_whole(view)]
        self._draw_clutter(view, rng)
        return []

    def _draw_clutter(self, view: Pixels, rng: np.random.Generator) -> None:
        """Draws clutter into a view without faces, sometimes."""
        if self._config.scribbled and rng.random() < self._config.scribbled:
            draw_clutter(view, rng)

    def _fill_background(self, view: Pixels, rng: np.random.Generator) -> None:
        """Fills the view behind the picture: with a scene without faces, or with one colour."""
        if (empty := self._sampler.of.get("empty")) and rng.random() < 0.6:
            fill_with_random_part(view, self._pictures.pixels(empty[int(rng.integers(len(empty)))]), rng)
            # A doubtful face in it would be visible without a label, so the scene is blurred.
            view[:] = cv2.blur(view, (7, 7))
        else:
            view[:] = rng.integers(0, 256, 3) if rng.random() < 0.7 else int(rng.integers(256))


def face_arrays(faces: list[LabelledFace]) -> FaceArrays:
    """Returns the labels as arrays."""
    boxes = np.array([face.box for face in faces], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return FaceArrays(
        boxes,
        np.array([face.landmarks for face in faces], np.float64).reshape(-1, 5, 2),
        np.array([-1 if face.masked is None else face.masked for face in faces], np.int8),
        np.array([face.sure for face in faces], np.bool_),
    )


def _cells(width: int, height: int, count: int, rng: np.random.Generator) -> list[_Cell]:
    """Returns a grid of `count` by `count` cells with uneven edges."""

    def edges(length: int) -> NDArray[np.int64]:
        even = np.linspace(0, length, count + 1)
        even[1:-1] += rng.uniform(-0.2, 0.2, count - 1) * length / count
        return np.round(even).astype(np.int64)

    x, y = edges(width), edges(height)
    spans = [(int(x[i]), int(y[j]), int(x[i + 1]), int(y[j + 1])) for j in range(count) for i in range(count)]
    return [_Cell(left, top, right - left, bottom - top) for left, top, right, bottom in spans]


def _whole(view: Pixels) -> LabelledFace:
    height, width = view.shape[:2]
    middle = ((width / 2, height / 2),) * 5
    return LabelledFace(
        box=(0.0, 0.0, float(width), float(height)), landmarks=middle, masked=None, sure=False
    )


def _shifted(face: LabelledFace, cell: _Cell) -> LabelledFace:
    x, y, w, h = face.box
    landmarks = tuple((px + cell.left, py + cell.top) for px, py in face.landmarks)
    return face.model_copy(update={"box": (x + cell.left, y + cell.top, w, h), "landmarks": landmarks})
