"""A second look at detections whose score leaves it open whether they are faces.

The detector scores a face much alike wherever in the canvas it lies and however large it is there; patterned
cloth or a leaf that it takes for a face, it scores by chance. So a doubtful detection is shown to it again,
alone, at sizes and a mirror image that it has not seen, and its score is the mean of all looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.bundle import DetectorSpec, LookWindow
from faces.tone import brightened
from faces.types import Box, Face, Image

# So many doubtful detections of a picture are looked at, of the largest weight: a crowd must not cost more.
MOST = 8
# A detection in a window is the same one at this overlap; the window is centred on it.
SAME_IOU = 0.4
# What scores less in a window counts as not seen again.
LOWEST_AGAIN = 0.3


def doubtful(faces: Sequence[Face], spec: DetectorSpec) -> list[int]:
    """Returns the indices of the detections that are looked at again, or judged by the verifier: those of the
    largest weight first, at most `MOST`."""
    least, below = spec.doubt or (1.0, 0.0)
    chosen = [i for i, face in enumerate(faces) if least <= face.score < below]
    return sorted(chosen, key=lambda i: -faces[i].weight)[:MOST]


def window_canvas(image: Image, box: Box, window: LookWindow, *, side_px: int) -> NDArray[np.uint8]:
    """Returns the square around a box, black outside the image, as a canvas uint8 [side_px, side_px, 3].

    Its side is `window.times` the box's longer one, which is in the middle.
    """
    held, step = image.pixels, image.reduction
    side = window.times * max(box.width, box.height) / step
    left, top = (box.x + box.width / 2) / step - side / 2, (box.y + box.height / 2) / step - side / 2
    x0, y0 = max(0, round(left)), max(0, round(top))
    x1, y1 = min(held.shape[1], round(left + side)), min(held.shape[0], round(top + side))
    canvas = np.zeros((side_px, side_px, 3), np.uint8)
    if x1 <= x0 or y1 <= y0:
        return canvas
    scale = side_px / side
    # Where the part of the window that the image fills begins and ends on the canvas.
    a, b, c, d = (
        min(side_px, max(0, round(value * scale))) for value in (x0 - left, y0 - top, x1 - left, y1 - top)
    )
    if c <= a or d <= b:
        return canvas
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    part = cv2.resize(held[y0:y1, x0:x1], (c - a, d - b), interpolation=how)
    canvas[b:d, a:c] = brightened(np.asarray(part, np.uint8))
    return np.ascontiguousarray(canvas[:, ::-1]) if window.mirrored else canvas


def score_in(found: Sequence[Face], box: Box, window: LookWindow, *, side_px: int) -> float:
    """Returns the score of the detection that is seen again in the middle of a window, 0 for none.

    `found`: detections in pixels of the canvas; `box`: the detection in pixels of the image.
    """
    scale = side_px / (window.times * max(box.width, box.height))
    width, height = box.width * scale, box.height * scale
    again = Box((side_px - width) / 2, (side_px - height) / 2, width, height)
    return max((face.score for face in found if _iou(face.box, again) >= SAME_IOU), default=0.0)


def rescored(face: Face, seconds: Sequence[float], spec: DetectorSpec) -> Face:
    """Returns the face with the mean of its score and those of its second looks."""
    score = (face.score + sum(seconds)) / (1 + len(seconds))
    probability = None if spec.calibration is None else spec.calibration.probability(score)
    return replace(face, score=score, probability=probability)


def _iou(a: Box, b: Box) -> float:
    across = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    down = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    shared = max(0.0, across) * max(0.0, down)
    return shared / (a.area + b.area - shared)
