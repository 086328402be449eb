"""Finds photographs that archives hold twice under two names: they would count as impostors who match.

No face network is asked, so no look-alike is lost: two crops are one photograph if their fine structure
agrees. Of the 8,043 people kept for thresholds this leaves out some thirty. By eye, every pair above `ALIKE`
was one photograph, and the first two strangers (studio portraits) came at .86. Different photos of one person
stay, so thresholds far out are stricter than they need be.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.types import Pixels

ALIKE = 0.87
FINE, COARSE = 1.5, 5.0
# The face of a crop of 112 px, every second pixel.
FACE = (slice(16, 104, 2), slice(16, 96, 2))
AT_ONCE = 512


def fine_structure(crop: Pixels) -> NDArray[np.float32]:
    """Unit float32 [1760]: a crop [112, 112, 3] without its colours, its light and the finest noise."""
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY).astype(np.float32)
    band = cv2.GaussianBlur(grey, (0, 0), FINE) - cv2.GaussianBlur(grey, (0, 0), COARSE)
    face = np.asarray(band, np.float32)[FACE]
    face = face - face.mean()
    return np.asarray(face / max(float(np.linalg.norm(face)), 1e-6), np.float32).ravel()


def repeated(crops: Iterable[Pixels]) -> list[int]:
    """The places of crops [112, 112, 3] that show the photograph of an earlier one."""
    return like_earlier(np.stack([fine_structure(crop) for crop in crops]), ALIKE)


def like_earlier(rows: NDArray[np.float32], limit: float) -> list[int]:
    """The places of unit rows [n, d] whose cosine with an earlier one is at least `limit`."""
    again: set[int] = set()
    for start in range(0, len(rows), AT_ONCE):
        later = np.argwhere(rows[start : start + AT_ONCE] @ rows[start:].T >= limit) + start
        again |= {int(j) for i, j in later if i < j}
    return sorted(again)
