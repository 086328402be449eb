"""Where a picture goes in a place of a scene, and what becomes of its labels there."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.types import Pixels
from training.detector.pictures import Entry, Known

Floats = NDArray[np.float64]
# Left, top, width, height.
Rectangle = tuple[float, float, float, float]
# Of a mirrored face: eyes and mouth corners change places.
MIRRORED = (1, 0, 2, 4, 3)
# Below `TAUGHT` of its box in sight a face is not taught, below `SEEN` it is not there.
TAUGHT, SEEN = 0.6, 0.15
# How often a part without a face is looked for.
TRIES = 6
WIDEST_TURN, USUAL_TURN, WIDE_SHARE = 40.0, 9.0, 0.15


def aim(
    box: Rectangle,
    size: tuple[int, ...],
    rng: np.random.Generator,
    *,
    by: tuple[float, float] | None = None,
) -> tuple[Floats, bool]:
    """The similarity [2, 3] that brings a box to a size and place of chance in a view, and whether it
    mirrors. `by`: enlarged so many times, from the least to the most, whatever the view."""
    height, width = size[:2]
    side = float(np.sqrt(box[2] * box[3]))
    room = min(width, height)
    low, high = (0.18 * room, 1.05 * room) if by is None else (by[0] * side, by[1] * side)
    wanted = float(np.exp(rng.uniform(np.log(low / room), np.log(high / room)))) * room
    scale = max(wanted, 9.0) / side
    wide = rng.random() < WIDE_SHARE
    turn = float(rng.uniform(-WIDEST_TURN, WIDEST_TURN) if wide else rng.normal(0.0, USUAL_TURN))
    mirrored = bool(rng.random() < 0.5)
    cos, sin = scale * np.cos(np.radians(turn)), scale * np.sin(np.radians(turn))
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    x, y, w, h = box
    margin = min(0.5, 0.42 * wanted / room)
    target = rng.uniform(margin, 1.0 - margin, 2) * (width, height)
    shift = target - linear @ np.array([x + w / 2, y + h / 2])
    return np.column_stack([linear, shift]), mirrored


def warp(view: Pixels, pixels: Pixels, matrix: Floats) -> None:
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


def cover(view: Pixels, pixels: Pixels, rng: np.random.Generator) -> None:
    """A part of a picture, of chance, over the whole view."""
    height, width = pixels.shape[:2]
    share = float(rng.uniform(0.3, 1.0))
    ratio = min(height / view.shape[0], width / view.shape[1]) * share
    part_h, part_w = max(1, int(view.shape[0] * ratio)), max(1, int(view.shape[1] * ratio))
    top, left = int(rng.integers(height - part_h + 1)), int(rng.integers(width - part_w + 1))
    stretch(view, pixels[top : top + part_h, left : left + part_w])


def stretch(view: Pixels, part: Pixels) -> None:
    """A part of a picture over the whole view."""
    resized = cv2.resize(part, (view.shape[1], view.shape[0]), interpolation=cv2.INTER_LINEAR)
    view[:] = resized if resized.ndim == 3 else resized[:, :, None]


def beside(entry: Entry, size: tuple[int, ...], rng: np.random.Generator) -> tuple[slice, slice] | None:
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


def moved(face: Known, matrix: Floats, *, mirrored: bool) -> Known:
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


def in_sight(face: Known, size: tuple[int, ...]) -> Known | None:
    """None where hardly anything of a face is left in the view; unsure where too little is."""
    x, y, w, h = face.box
    seen_w = min(x + w, size[1]) - max(x, 0.0)
    seen_h = min(y + h, size[0]) - max(y, 0.0)
    seen = max(0.0, seen_w) * max(0.0, seen_h) / (w * h)
    inside = 0 <= x + w / 2 < size[1] and 0 <= y + h / 2 < size[0]
    if seen < SEEN:
        return None
    return face if inside and seen >= TAUGHT else face.model_copy(update={"sure": False})


def occlude(view: Pixels, face: Known, rng: np.random.Generator) -> None:
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
