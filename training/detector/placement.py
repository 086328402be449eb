"""Places a picture in a view, a cell of a scene, and moves its labels with it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.types import Pixels
from training.detector.pictures import Entry, LabelledFace

Floats = NDArray[np.float64]
# Left, top, width, height.
Rectangle = tuple[float, float, float, float]
# The order of a mirrored face's landmarks: eyes and mouth corners change places.
MIRRORED = (1, 0, 2, 4, 3)
# A face with a smaller share of its box in view than `TAUGHT` becomes doubtful, than `SEEN` is dropped.
TAUGHT, SEEN = 0.6, 0.15
# Attempts to find a part without a face.
TRIES = 6
WIDEST_TURN, USUAL_TURN, WIDE_SHARE = 40.0, 9.0, 0.15


def random_similarity(
    box: Rectangle,
    size: tuple[int, ...],
    rng: np.random.Generator,
    *,
    by: tuple[float, float] | None = None,
) -> tuple[Floats, bool]:
    """Draws a similarity [2, 3] that brings a box to a random size and place in a view; tells if it mirrors.

    `by` is the range of the enlargement; without it, the range depends on the size of the view.
    """
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


def warp_into(view: Pixels, pixels: Pixels, matrix: Floats) -> None:
    """Warps a picture into a view, in place."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    times = min(int(1.0 / scale), min(pixels.shape[:2]))
    if times > 1:
        # Averages whole blocks of pixels, which is fast; interpolation does the rest.
        rows, columns = pixels.shape[0] // times, pixels.shape[1] // times
        blocks = pixels[: rows * times, : columns * times]
        pixels = np.asarray(cv2.resize(blocks, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
        # The middle of a block is the middle of its pixels.
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


def smear_border(view: Pixels, pixels: Pixels, matrix: Floats, rng: np.random.Generator) -> None:
    """Fills a view with the border of the picture that will lie in it: drawn out or mirrored, and blurred.

    A mirrored face may come with it, which is no face that anybody looks for: the blur hides it.
    """
    if pixels.ndim == 2:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), np.uint8)
    border = cv2.BORDER_REPLICATE if rng.random() < 0.7 else cv2.BORDER_REFLECT_101
    size = (view.shape[1], view.shape[0])
    spread = cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)
    reach = max(3, int(min(view.shape[:2]) * rng.uniform(0.08, 0.2))) | 1
    view[:] = cv2.blur(spread, (reach, reach))


def fill_with_random_part(view: Pixels, pixels: Pixels, rng: np.random.Generator) -> None:
    """Fills the view with a random part of a picture."""
    height, width = pixels.shape[:2]
    share = float(rng.uniform(0.3, 1.0))
    ratio = min(height / view.shape[0], width / view.shape[1]) * share
    part_h, part_w = max(1, int(view.shape[0] * ratio)), max(1, int(view.shape[1] * ratio))
    top, left = int(rng.integers(height - part_h + 1)), int(rng.integers(width - part_w + 1))
    fill_with(view, pixels[top : top + part_h, left : left + part_w])


def fill_with(view: Pixels, part: Pixels) -> None:
    """Fills the view with a part of a picture, resized."""
    resized = cv2.resize(part, (view.shape[1], view.shape[0]), interpolation=cv2.INTER_LINEAR)
    view[:] = resized if resized.ndim == 3 else resized[:, :, None]


def find_free_part(
    entry: Entry, size: tuple[int, ...], rng: np.random.Generator
) -> tuple[slice, slice] | None:
    """Returns rows and columns of a random part, of the view's aspect, that touches no face; None if
    none is found."""
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


def transform_face(face: LabelledFace, matrix: Floats, *, mirrored: bool) -> LabelledFace:
    """Returns the labels after a similarity; the new box bounds the ellipse inscribed in the old one."""
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


def clip_to_view(face: LabelledFace, size: tuple[int, ...]) -> LabelledFace | None:
    """Returns the face, doubtful if too little of it is in the view, or None if hardly anything is."""
    x, y, w, h = face.box
    seen_w = min(x + w, size[1]) - max(x, 0.0)
    seen_h = min(y + h, size[0]) - max(y, 0.0)
    seen = max(0.0, seen_w) * max(0.0, seen_h) / (w * h)
    inside = 0 <= x + w / 2 < size[1] and 0 <= y + h / 2 < size[0]
    if seen < SEEN:
        return None
    return face if inside and seen >= TAUGHT else face.model_copy(update={"sure": False})


def occlude(view: Pixels, face: LabelledFace, rng: np.random.Generator) -> None:
    """Covers a part of a face, a third at most, with one colour or with a piece of the view itself.

    In about half of the cases the mouth, by which a mask is recognised, stays visible.
    """
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
