"""Aligns a face to a fixed template by a least-squares similarity of five landmarks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.types import AlignedCrop, Face, Image, Point

MIN_INTER_EYE_PX = 4.0
# Landmarks whose best similarity shrinks or grows more than this are no face.
MAX_SCALE = 64.0


class AlignError(ValueError):
    """The landmarks cannot be mapped onto the template."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """The positions of the five landmarks in a crop of `side_px` squared."""

    alignment_id: str
    side_px: int
    points: tuple[Point, Point, Point, Point, Point]

    def scaled(self, side_px: int) -> Alignment:
        """Returns the same template in another size."""
        factor = side_px / self.side_px
        first, second, nose, left, right = ((x * factor, y * factor) for x, y in self.points)
        return Alignment(f"arcface-{side_px}", side_px, (first, second, nose, left, right))


# The template of ArcFace (arXiv 1801.07698), the field's common one at 112 px.
_ARCFACE_112 = Alignment(
    "arcface-112",
    112,
    (
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ),
)
ALIGNMENTS: Mapping[str, Alignment] = MappingProxyType(
    {a.alignment_id: a for a in (_ARCFACE_112, _ARCFACE_112.scaled(144))}
)


def similarity(landmarks: Sequence[Point], alignment: Alignment) -> NDArray[np.float64]:
    """Returns the [2, 3] matrix that maps landmarks onto the template with the least squared error.

    It has rotation, scale and shift without reflection (Umeyama 1991, eq. 40 to 42, for two dimensions,
    where it is a complex linear regression). Raises AlignError for degenerate landmarks.
    """
    source = np.array([complex(x, y) for x, y in landmarks])
    target = np.array([complex(x, y) for x, y in alignment.points])
    from_mean, to_mean = source.mean(), target.mean()
    centred = source - from_mean
    spread = float(np.sum(np.abs(centred) ** 2))
    if not math.isfinite(spread) or spread < MIN_INTER_EYE_PX:
        raise AlignError("the landmarks fall on one point")
    factor = np.sum(np.conj(centred) * (target - to_mean)) / spread
    if not 1 / MAX_SCALE < abs(factor) < MAX_SCALE:
        raise AlignError("the landmarks do not look like a face")
    shift = to_mean - factor * from_mean
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def align(image: Image, face: Face, alignment_id: str) -> AlignedCrop:
    """Warps a face of an image onto a template of `ALIGNMENTS`; outside the image is black.

    Raises AlignError for eyes closer than 4 px or degenerate landmarks, KeyError for an unknown
    template.
    """
    alignment = ALIGNMENTS[alignment_id]
    if face.inter_eye_px < MIN_INTER_EYE_PX:
        raise AlignError(f"the eyes are {face.inter_eye_px:.1f} px apart")
    matrix = similarity([(x / image.reduction, y / image.reduction) for x, y in face.landmarks], alignment)
    side = alignment.side_px
    pixels = cv2.warpAffine(image.pixels, matrix, (side, side), flags=cv2.INTER_LINEAR)
    return AlignedCrop(np.asarray(pixels, np.uint8), alignment_id, face.inter_eye_px, image.spectrum)
