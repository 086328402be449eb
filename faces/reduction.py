"""Holds large pictures at 1/2, 1/4, ... of their size, which still shows every face that is found."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# What libjpeg and OpenCV decode a JPEG to without making the full picture.
JPEG_FLAGS = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


def factor_for(width: int, height: int, work_pixels: int | None) -> int:
    """The smallest power of two by which each side must be divided to leave at most `work_pixels`."""
    factor = 1
    while work_pixels is not None and -(-width // factor) * -(-height // factor) > work_pixels:
        factor *= 2
    return factor


def shrink(
    pixels: NDArray[np.uint8 | np.uint16], width: int, height: int, factor: int
) -> NDArray[np.uint8 | np.uint16]:
    """[height, width] pixels, or a version that is reduced already, to 1/factor of that size, by area."""
    size = (-(-width // factor), -(-height // factor))
    if pixels.shape[1::-1] == size:
        return pixels
    smaller: NDArray[np.uint8 | np.uint16] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return smaller
