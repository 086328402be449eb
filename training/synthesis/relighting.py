"""Simulates other cameras and other light on a face; the teacher's labels stay valid.

A student that sees one generator of pseudo-NIR pictures learns that generator. These changes belong to no
generator: they vary light, sensor and spectrum much further than any one of them does.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.types import Pixels

Floats = NDArray[np.float32]

# Tone: exponent of a random curve, gain and offset in grey levels.
CURVE, GAIN, OFFSET = 0.35, 0.2, 20.0
BLUR_SHARE, SLOPE_SHARE, NOISE_SHARE = 0.15, 0.3, 0.2
# Standard deviation of a sensor's noise at most, in grey levels.
NOISE = 8.0
# Patches of light: cells a side, and the logarithm of their brightest against 1.
CELLS, PATCHES = (2, 6), 0.7
# Share of the face's own light that is removed (1: all of it) or, below 0, exaggerated.
FLAT = (-0.4, 0.9)
# Share of a side over which light counts as even, and its lower limit in grey levels.
EVEN, DARKEST = 0.12, 24.0
# How far a grey extrapolates the channels: NIR hides lips as no positive mixture of channels does.
BEYOND = 0.6


def toned(crop: Pixels, rng: np.random.Generator, *, grey: float, lit: float) -> Pixels:
    """Changes the tone of a crop uint8 [s, s, 3]; `grey`, `lit`: chances of no colour, of other light."""
    if rng.random() < grey:
        crop = _grey(crop, rng)
    levels = np.arange(256, dtype=np.float32) / 255.0
    curve = levels ** np.exp(rng.uniform(-CURVE, CURVE)) * 255.0
    curve = curve * rng.uniform(1 - GAIN, 1 + GAIN) + rng.uniform(-OFFSET, OFFSET)
    made: Floats = curve.astype(np.float32)[crop]
    if rng.random() < lit:
        made = _patches(_flattened(made, rng), rng)
    if rng.random() < SLOPE_SHARE:
        made = made * _slope(len(crop), rng)[:, :, None]
    if rng.random() < BLUR_SHARE:
        made = np.asarray(cv2.GaussianBlur(made, (0, 0), float(rng.uniform(0.4, 1.2))), np.float32)
    if rng.random() < NOISE_SHARE:
        noise = rng.standard_normal(made.shape[:2], np.float32) * np.float32(rng.uniform(0, NOISE))
        made = made + noise[:, :, None]
    return np.asarray(np.clip(made, 0.0, 255.0) + 0.5, np.uint8)


def _grey(crop: Pixels, rng: np.random.Generator) -> Pixels:
    weights = rng.dirichlet((1.0, 3.0, 2.0))
    weights = weights + rng.uniform(0, BEYOND) * (weights - rng.dirichlet((2.0, 2.0, 1.0)))
    mixed = cv2.transform(crop, weights.astype(np.float32)[None])
    return np.repeat(mixed[:, :, None], 3, axis=2)


def _flattened(made: Floats, rng: np.random.Generator) -> Floats:
    """Divides by a power of the picture's light: Land's retinex, one Gaussian surround (PNAS 83, 1986)."""
    light = cv2.GaussianBlur(made.mean(2), (0, 0), EVEN * len(made))
    light = np.maximum(np.asarray(light, np.float32), DARKEST)
    factor = (light.mean() / light) ** np.float32(rng.uniform(*FLAT))
    return np.asarray(made * factor[:, :, None], np.float32)


def _patches(made: Floats, rng: np.random.Generator) -> Floats:
    side, cells = len(made), int(rng.integers(*CELLS))
    field = rng.uniform(-1, 1, (cells, cells)).astype(np.float32) * np.float32(rng.uniform(0, PATCHES))
    field = np.asarray(cv2.resize(field, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
    return np.asarray(made * np.exp(field)[:, :, None], np.float32)


def _slope(side: int, rng: np.random.Generator) -> Floats:
    """Factors [side, side] around 1 of light that falls off in one direction."""
    along = np.linspace(-1.0, 1.0, side, dtype=np.float32)
    right, down = rng.uniform(-0.35, 0.35, 2).astype(np.float32)
    return np.asarray(1.0 + right * along[None, :] + down * along[:, None], np.float32)
