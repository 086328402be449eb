"""Views of faces without a mask for the student: photos, mirror images and mixtures of two faces.

A view is a function of seed and number; only its labels are stored. Teacher and student see the same
geometry, so that the labels are right for these very pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from faces.types import Pixels
from training.data.prepared import Indices, Shards

# Largest rotation (degrees), scaling and shift (pixels of 112) of a view from the aligned crop.
TURN, SCALE, SHIFT = 6.0, 0.06, 3.0
MOVED_SHARE, MIXED_SHARE, CUT_SHARE = 0.7, 0.75, 0.4
# Soft edge between the upper part of one face and the lower part of another, in pixels of 112.
SEAM = 6.0


def moved(crop: Pixels, rng: np.random.Generator, *, extent: float = 1.0) -> Pixels:
    """Rotates, scales and shifts a crop [s, s, 3] at random, up to `extent` times the constants."""
    side = crop.shape[0]
    turn, scale = rng.uniform(-TURN, TURN) * extent, 1.0 + rng.uniform(-SCALE, SCALE) * extent
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), float(turn), float(scale))
    matrix[:, 2] += rng.uniform(-SHIFT, SHIFT, 2) * extent * side / 112
    done = cv2.warpAffine(crop, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(done, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """Views of `plain`, rows of the crops without a mask in visible light.

    The first len(plain) are the crops, the next as many their mirror images, all others mixtures.
    """

    shards: Shards
    plain: Indices
    seed: int = 0

    def place(self, photo: int, *, mirrored: bool) -> int:
        """The number of the view that shows this photo as it is."""
        return photo + len(self.plain) * mirrored

    def view(self, number: int) -> Pixels:
        """uint8 [side, side, 3]."""
        count = len(self.plain)
        if number < count:
            return self._crop(number)
        if number < 2 * count:
            return np.ascontiguousarray(self._crop(number - count)[:, ::-1])
        rng = np.random.default_rng([self.seed, number])
        first = self._drawn(rng)
        if rng.random() > MIXED_SHARE:
            return moved(first, rng)
        return self._mixed(first, self._drawn(rng), rng)

    def _crop(self, photo: int) -> Pixels:
        return self.shards.crop(int(self.plain[photo]))

    def _drawn(self, rng: np.random.Generator) -> Pixels:
        crop = self._crop(int(rng.integers(len(self.plain))))
        if rng.random() < 0.5:
            crop = np.ascontiguousarray(crop[:, ::-1])
        return moved(crop, rng) if rng.random() < MOVED_SHARE else crop

    def _mixed(self, a: Pixels, b: Pixels, rng: np.random.Generator) -> Pixels:
        """Two faces blended at 25 to 75 %, or the eyes of one over the mouth of the other."""
        side = len(a)
        share = np.full((side, 1, 1), rng.uniform(0.25, 0.75), np.float32)
        if rng.random() < CUT_SHARE:
            seam = rng.uniform(0.45, 0.75) * side
            rows = np.arange(side, dtype=np.float32)
            share = np.clip((seam - rows) / (SEAM * side / 112) + 0.5, 0.0, 1.0)[:, None, None]
        blended = a.astype(np.float32) * share + b.astype(np.float32) * (1.0 - share)
        return np.asarray(blended + 0.5, np.uint8)
