"""Makes a view of an aligned VIS crop: pseudo-NIR, masked, or both.

Sets of a service's own photos get the conditions that they lack this way; no face mesh is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from faces.types import Condition, Pixels, Point, Spectrum
from training.data.prepared import Row
from training.synthesis.simple import masked_vis, pseudo_nir

GENERATOR = "pseudo-NIR"


def crop_view(
    row: Row, crop: Pixels, condition: Condition, points: Sequence[Point], rng: np.random.Generator
) -> tuple[Row, Pixels]:
    """Returns the row and the crop [side, side, 3] in a condition.

    `crop`: unmasked VIS; `points`: the five landmarks in its pixels, where a mask is drawn.
    """
    pixels, generator = crop, row.generator
    if condition.spectrum is Spectrum.NIR:
        pixels, generator = pseudo_nir(crop, rng, landmarks=points if condition.masked else None), GENERATOR
    elif condition.masked:
        pixels = masked_vis(crop, points, rng)
    changed = {
        "spectrum": condition.spectrum,
        "masked": condition.masked,
        "mask": "drawn" if condition.masked else row.mask,
        "generator": generator,
    }
    return row.model_copy(update=changed), pixels
