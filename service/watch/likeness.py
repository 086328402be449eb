"""How alike two pictures of a face look that lie a fraction of a second apart.

This tells a face from a pattern on the wall, a poster or the back of a head that takes its place. It does not
tell people apart: two people behind masks look as alike as one person does who turns.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from service.watch.frames import Pixels

Look = NDArray[np.float32]
SIDE = 16
# Measured on a clip of the 14 rendered samples at five frames a second: one person has .34 to 1 (.69 and more
# but for 4 of 159 pairs: the clip jumps from view to view), a face and the pattern behind it .01 to .34.
LEAST = 0.3
# There one person's face grew by a fifth at most: what changes its size more has to look the more alike.
STEADY_RATIO, LEAST_IF_RESIZED = 1.25, 0.5


def look_of(pixels: Pixels, box: tuple[float, float, float, float]) -> Look:
    """A face reduced to float32 [16, 16] with mean 0 and length 1; all 0 for a plain surface."""
    h, w = pixels.shape[:2]
    left, top = min(max(0, int(box[0])), w - 1), min(max(0, int(box[1])), h - 1)
    right, bottom = max(left + 1, int(box[0] + box[2])), max(top + 1, int(box[1] + box[3]))
    part = pixels[top:bottom, left:right]
    luma = part if part.ndim == 2 else part[..., 1]
    reduced = cv2.resize(luma, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    reduced -= reduced.mean()
    length = float(np.linalg.norm(reduced))
    # Less than a grey value of contrast is noise.
    return np.asarray(reduced / length if length > SIDE else np.zeros_like(reduced), np.float32)


def may_be_one(before: Look, now: Look, ratio: float) -> bool:
    """Whether one face may look so in two frames that follow each other. `ratio`: of its sides, from 1 up."""
    if not before.any() or not now.any():
        return True
    return float((before * now).sum()) >= (LEAST if ratio <= STEADY_RATIO else LEAST_IF_RESIZED)
