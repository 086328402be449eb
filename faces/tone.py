"""Brightens dark frames for the detector.

An underexposed frame keeps its shape in few grey levels: stretched over all of them, the detector finds
more faces and tells masks better (docs/field.md has the figures). What an overexposed frame has lost
cannot be got back, and stretching it changed nothing, so it stays as it is.
"""

from __future__ import annotations

import cv2
import numpy as np

from faces.types import Pixels

# A frame is dark if this share of its pixels has at most this level.
MOST, DARK = 0.995, 100
# The levels that the darkest and the brightest pixels get, and the least range that is worth stretching.
BLACK, WHITE, LEAST_RANGE = 5, 250, 4


def brightened(pixels: Pixels) -> Pixels:
    """Returns uint8 [h, w, 3] with a dark picture stretched over all levels, the same for each channel."""
    counts = np.bincount(pixels[:, :, 1].ravel(), minlength=256)
    shares = np.cumsum(counts) / counts.sum()
    low, high = int(np.searchsorted(shares, 1 - MOST)), int(np.searchsorted(shares, MOST))
    if high > DARK or high - low < LEAST_RANGE:
        return pixels
    levels = (np.arange(256) - low) * ((WHITE - BLACK) / (high - low)) + BLACK
    table = np.clip(levels + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, table), np.uint8)
