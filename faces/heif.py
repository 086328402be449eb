"""HEIF files (HEIC: what phones store): the size and the pixels of the primary picture.

libheif raises errors of many types for broken files: callers catch Exception.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faces.types import Pixels

if TYPE_CHECKING:
    from pillow_heif import HeifImage

# An extra of its own: the wheel brings encoders under the GPL, which nobody gets without asking.
EXTRA = "heic"


def is_available() -> bool:
    """Whether the decoder is installed."""
    return find_spec("pillow_heif") is not None


def read_size(data: bytes) -> tuple[int, int]:
    """Returns (width, height) in pixels as turned and cropped by the container, from its boxes alone."""
    width, height = _primary(data).size
    return int(width), int(height)


def largest_declared(data: bytes) -> tuple[int, int]:
    """Returns the largest (width, height) of any size box (`ispe`, ISO/IEC 23008-12, 6.5.3); (0, 0) for none.

    What is decoded may be larger than what is shown: a box can crop it to a corner.
    """
    largest, at = (0, 0), 0
    while (start := data.find(b"meta", at)) >= 4:
        at = start + max(4, int.from_bytes(data[start - 4 : start], "big") - 4)
        for part in data[start:at].split(b"ispe")[1:]:
            width, height = int.from_bytes(part[4:8], "big"), int.from_bytes(part[8:12], "big")
            largest = max(largest, (width, height), key=math.prod)
    return largest


def read_pixels(data: bytes) -> Pixels:
    """Decodes the primary picture to uint8 BGR [h, w, 3], upright; more than 8 bits are shifted down.

    libheif refuses a picture whose coded size exceeds the size that its box declares.
    """
    decoded: NDArray[np.uint8] = np.asarray(_primary(data))
    if decoded.dtype != np.uint8:
        raise ValueError(f"a HEIF gave {decoded.dtype}")
    if decoded.ndim == 2 or decoded.shape[2] < 3:
        return np.repeat(decoded.reshape(*decoded.shape[:2], -1)[:, :, :1], 3, axis=2)
    return np.ascontiguousarray(decoded[:, :, :3])


def _primary(data: bytes) -> HeifImage:
    import pillow_heif

    opened = pillow_heif.open_heif(data, convert_hdr_to_8bit=True, bgr_mode=True)
    return opened[opened.primary_index]
