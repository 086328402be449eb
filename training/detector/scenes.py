"""Scenes composed of labelled pictures: mosaics of faces from a few pixels to the whole frame.

Everything is drawn from one random generator, so a scene can be made again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from faces.strict import Strict
from faces.types import Pixels
from training.detector.pictures import Entry, Kind, Known, Pictures

Share = Annotated[float, Field(ge=0, le=1)]
Floats = NDArray[np.float64]
# Of a mirrored face: eyes and mouth corners change places.
MIRRORED = (1, 0, 2, 4, 3)
# Below `TAUGHT` of its box in sight a face is not taught, below `SEEN` it is not there.
TAUGHT, SEEN = 0.6, 0.15
FIRST_SHARE, TRIES = 0.6, 6
WIDEST_TURN, USUAL_TURN, WIDE_SHARE = 40.0, 9.0, 0.15


class ScenesConfig(Strict):
    """`grids`: how often a scene has 1, 2, 3 ... pictures in a row; `kinds`: how often a picture is of each
    kind. `smallest_px`: shorter faces are left out. `padded`: how often the scene ends in black, as in a
    canvas; `occluded`: how often something lies over a face; `clear`: how often a place shows a part of a
    photo beside its faces, as hair, clothes or letters: what is taken for a face most often."""

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

    def __init__(self, pictures: Pictures, config: ScenesConfig, side_px: int) -> None:
        self._pictures, self._config, self._side = pictures, config, side_px
        by_kind: dict[Kind, list[int]] = defaultdict(list)
        for index, entry in enumerate(pictures):
            by_kind[entry.kind].append(index)
        self._of: Mapping[Kind, list[int]] = by_kind
        self._kinds = [kind for kind in by_kind if config.kinds.get(kind, 0.0) > 0]
        weights = np.array([config.kinds[kind] for kind in self._kinds])
        self._weights = weights / weights.sum()
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

    def _drawn(self, rng: np.random.Generator) -> int:
        kind = self._kinds[int(rng.choice(len(self._kinds), p=self._weights))]
        among = self._of[kind]
        return among[int(rng.integers(len(among)))]

    def _fill(self, view: Pixels, rng: np.random.Generator) -> list[Known]:
        """Put a picture into a place of the canvas; the faces in the place's pixels."""
        index = self._drawn(rng)
        pixels, entry = self._pictures.pixels(index), self._pictures.entry(index)
        if entry.faces and rng.random() < self._config.clear:
            beside = _beside(entry, view.shape, rng)
            if beside is not None:
                _stretch(view, pixels[beside])
                return []
        self._ground(view, rng)
        sure = [face for face in entry.faces if face.sure]
        if not sure:
            _cover(view, pixels, rng)
            # Where it might be a face, the picture teaches nothing; it is only shown as a whole.
            return [] if not entry.faces else [_whole(view)]
        # The first face is the largest, and the one that may wear a mask; the others are harder.
        aimed = sure[0] if rng.random() < FIRST_SHARE else sure[int(rng.integers(len(sure)))]
        matrix, mirrored = _aim(aimed, view.shape, rng)
        _warp(view, pixels, matrix)
        moved = (_moved(face, matrix, mirrored=mirrored) for face in entry.faces)
        kept = [seen for face in moved if (seen := _in_sight(face, view.shape)) is not None]
        kept = [self._big_enough(face) for face in kept]
        for face in kept:
            if face.sure and rng.random() < self._config.occluded:
                _occlude(view, face, rng)
        return kept

    def _big_enough(self, face: Known) -> Known:
        small = min(face.box[2:]) < self._config.smallest_px
        return face.model_copy(update={"sure": False}) if small else face

    def _ground(self, view: Pixels, rng: np.random.Generator) -> None:
        """What shows where the picture ends: a scene without faces, or one colour."""
        if (empty := self._of.get("empty")) and rng.random() < 0.6:
            _cover(view, self._pictures.pixels(empty[int(rng.integers(len(empty)))]), rng)
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


def _aim(face: Known, size: tuple[int, ...], rng: np.random.Generator) -> tuple[Floats, bool]:
    """The similarity [2, 3] that brings a face to a size and place of chance in a view."""
    height, width = size[:2]
    side = float(np.sqrt(face.box[2] * face.box[3]))
    room = min(width, height)
    wanted = float(np.exp(rng.uniform(np.log(0.18), np.log(1.05)))) * room
    scale = max(wanted, 9.0) / side
    wide = rng.random() < WIDE_SHARE
    turn = float(rng.uniform(-WIDEST_TURN, WIDEST_TURN) if wide else rng.normal(0.0, USUAL_TURN))
    mirrored = bool(rng.random() < 0.5)
    cos, sin = scale * np.cos(np.radians(turn)), scale * np.sin(np.radians(turn))
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    x, y, w, h = face.box
    margin = min(0.5, 0.42 * wanted / room)
    target = rng.uniform(margin, 1.0 - margin, 2) * (width, height)
    shift = target - linear @ np.array([x + w / 2, y + h / 2])
    return np.column_stack([linear, shift]), mirrored


def _warp(view: Pixels, pixels: Pixels, matrix: Floats) -> None:
    """A picture into a view, in place."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    times = min(int(1.0 / scale), min(pixels.shape[:2]))
    if times > 1:
        # Whole blocks of pixels are averaged, which is fast; the rest is left to the interpolation.
        rows, columns = pixels.shape[0] // times, pixels.shape[1] // times
        blocks = pixels[: rows * times, : columns * times]
        pixels = np.asarray(cv2.resize(blocks, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
        # The middle of a block is where the middle of its pixels was.
        linear = matrix[:, :2] * times
        matrix = np.column_stack([linear, matrix[:, 2] + matrix[:, :2] @ np.full(2, (times - 1) / 2)])
    if pixels.ndim == 2:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), np.uint8)
    warped = np.ascontiguousarray(view)
    size = (view.shape[1], view.shape[0])
    cv2.warpAffine(
        pixels, matrix, size, dst=warped, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
    )
    view[:] = warped


def _cover(view: Pixels, pixels: Pixels, rng: np.random.Generator) -> None:
    """A part of a picture, of chance, over the whole view."""
    height, width = pixels.shape[:2]
    share = float(rng.uniform(0.3, 1.0))
    ratio = min(height / view.shape[0], width / view.shape[1]) * share
    part_h, part_w = max(1, int(view.shape[0] * ratio)), max(1, int(view.shape[1] * ratio))
    top, left = int(rng.integers(height - part_h + 1)), int(rng.integers(width - part_w + 1))
    _stretch(view, pixels[top : top + part_h, left : left + part_w])


def _stretch(view: Pixels, part: Pixels) -> None:
    """A part of a picture over the whole view."""
    resized = cv2.resize(part, (view.shape[1], view.shape[0]), interpolation=cv2.INTER_LINEAR)
    view[:] = resized if resized.ndim == 3 else resized[:, :, None]


def _beside(entry: Entry, size: tuple[int, ...], rng: np.random.Generator) -> tuple[slice, slice] | None:
    """Rows and columns of a part, of the view's form, that touches no face; None where none is found."""
    height, width = entry.shape[:2]
    for _ in range(TRIES):
        side = float(rng.uniform(0.15, 0.7)) * min(height / size[0], width / size[1])
        part_h, part_w = max(2, int(size[0] * side)), max(2, int(size[1] * side))
        top, left = int(rng.integers(height - part_h + 1)), int(rng.integers(width - part_w + 1))
        boxes = (face.box for face in entry.faces)
        if all(
            x >= left + part_w or x + w <= left or y >= top + part_h or y + h <= top for x, y, w, h in boxes
        ):
            return slice(top, top + part_h), slice(left, left + part_w)
    return None


def _moved(face: Known, matrix: Floats, *, mirrored: bool) -> Known:
    """Labels after a similarity; the box is that of the ellipse it holds."""
    x, y, w, h = face.box
    linear = matrix[:, :2]
    cx, cy = linear @ np.array([x + w / 2, y + h / 2]) + matrix[:, 2]
    w2, h2 = np.sqrt((linear**2) @ np.array([w**2, h**2]))
    points = np.array(face.landmarks) @ linear.T + matrix[:, 2]
    if mirrored:
        points = points[list(MIRRORED)]
    box = (float(cx - w2 / 2), float(cy - h2 / 2), float(w2), float(h2))
    landmarks = tuple((float(px), float(py)) for px, py in points)
    return face.model_copy(update={"box": box, "landmarks": landmarks})


def _in_sight(face: Known, size: tuple[int, ...]) -> Known | None:
    """None where hardly anything of a face is left in the view; unsure where too little is."""
    x, y, w, h = face.box
    seen_w = min(x + w, size[1]) - max(x, 0.0)
    seen_h = min(y + h, size[0]) - max(y, 0.0)
    seen = max(0.0, seen_w) * max(0.0, seen_h) / (w * h)
    inside = 0 <= x + w / 2 < size[1] and 0 <= y + h / 2 < size[0]
    if seen < SEEN:
        return None
    return face if inside and seen >= TAUGHT else face.model_copy(update={"sure": False})


def _whole(view: Pixels) -> Known:
    height, width = view.shape[:2]
    middle = ((width / 2, height / 2),) * 5
    return Known(box=(0.0, 0.0, float(width), float(height)), landmarks=middle, masked=None, sure=False)


def _shifted(face: Known, cell: _Cell) -> Known:
    x, y, w, h = face.box
    landmarks = tuple((px + cell.left, py + cell.top) for px, py in face.landmarks)
    return face.model_copy(update={"box": (x + cell.left, y + cell.top, w, h), "landmarks": landmarks})


def _occlude(view: Pixels, face: Known, rng: np.random.Generator) -> None:
    """Something over a part of a face: one colour, or a piece of the view itself. It hides a third at most,
    and leaves the mouth, by which a mask is told, as often as not."""
    x, y, w, h = face.box
    ow, oh = rng.uniform(0.2, 0.6) * w, rng.uniform(0.2, 0.5) * h
    left = int(np.clip(rng.uniform(x, x + w - ow), 0, view.shape[1] - 1))
    top = int(np.clip(rng.uniform(y - oh / 2, y + h - oh), 0, view.shape[0] - 1))
    right = min(view.shape[1], left + max(1, int(ow)))
    bottom = min(view.shape[0], top + max(1, int(oh)))
    patch = view[top:bottom, left:right]
    if rng.random() < 0.5:
        patch[:] = rng.integers(0, 256, 3)
        return
    fy = int(rng.integers(0, view.shape[0] - patch.shape[0] + 1))
    fx = int(rng.integers(0, view.shape[1] - patch.shape[1] + 1))
    patch[:] = view[fy : fy + patch.shape[0], fx : fx + patch.shape[1]].copy()
