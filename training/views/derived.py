"""A VIS crop in another condition: what a set of a service's own photos lacks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from faces.types import Condition, Pixels, Point, Spectrum
from training.data.prepared import Row
from training.synthesis.simple import masked_vis, pseudo_nir

GENERATOR = "pseudo-NIR"


def derived(
    row: Row, crop: Pixels, condition: Condition, points: Sequence[Point], rng: np.random.Generator
) -> tuple[Row, Pixels]:
    """An unmasked VIS crop as pseudo-NIR, with a mask drawn over its landmarks `points`, or both."""
    made, generator = crop, row.generator
    if condition.spectrum is Spectrum.NIR:
        made, generator = pseudo_nir(crop, rng, landmarks=points if condition.masked else None), GENERATOR
    elif condition.masked:
        made = masked_vis(crop, points, rng)
    changed = {
        "spectrum": condition.spectrum,
        "masked": condition.masked,
        "mask": "drawn" if condition.masked else row.mask,
        "generator": generator,
    }
    return row.model_copy(update=changed), made
