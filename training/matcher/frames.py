"""Aligns faces to a frame with a border: the 112 px ArcFace crop with 16 px more on each side.

The border fills crops that are turned, shifted or shrunk at random.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.align import ALIGNMENTS, Alignment, similarity
from faces.types import Box, Face, Pixels, Point

BORDER_PX = 16
CROP_PX = 112
FRAME_PX = CROP_PX + 2 * BORDER_PX


def _frame() -> Alignment:
    one, two, nose, left, right = (
        (x + BORDER_PX, y + BORDER_PX) for x, y in ALIGNMENTS["arcface-112"].points
    )
    return Alignment("arcface-112-border", FRAME_PX, (one, two, nose, left, right))


FRAME = _frame()


def framed(pixels: Pixels, landmarks: Sequence[Point]) -> tuple[Pixels, NDArray[np.float32]]:
    """A photo uint8 [h, w, 3] -> its face in the frame [144, 144, 3], and the landmarks there [5, 2].

    Raises AlignError as `faces.align.similarity` does.
    """
    matrix = similarity(landmarks, FRAME)
    shrink = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if shrink < 0.5:
        # A bilinear warp would skip pixels; blurring averages them first.
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 0.4 / shrink), np.uint8)
    frame = cv2.warpAffine(
        pixels, matrix, (FRAME_PX, FRAME_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    moved = np.array(landmarks) @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(frame, np.uint8), moved.astype(np.float32)


def crop_of(frame: Pixels) -> Pixels:
    """The 112 px crop in the middle of a frame."""
    inner = slice(BORDER_PX, BORDER_PX + CROP_PX)
    return np.ascontiguousarray(frame[inner, inner])


def face_in_frame(landmarks: NDArray[np.float32]) -> Face:
    """The face of a frame as a detector would give it: a box in the usual place around the landmarks."""
    a, b, c, d, e = ((float(x), float(y)) for x, y in landmarks)
    eyes, mouth = (np.array(a) + b) / 2, (np.array(d) + e) / 2
    middle, height = (eyes + mouth) / 2, 2.45 * float(np.hypot(*(mouth - eyes)))
    width = max(0.8 * height, 2.0 * abs(b[0] - a[0]))
    box = Box(float(middle[0]) - width / 2, float(middle[1]) - 0.52 * height, width, height)
    return Face(box, (a, b, c, d, e), 1.0)
