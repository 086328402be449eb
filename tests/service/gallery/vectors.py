"""Unit vectors for gallery tests: spread out, tying exactly, and closer than float32 scores tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def spread(seed: int, dimension: int) -> Floats:
    """Any direction."""
    values = np.random.default_rng(seed).normal(size=dimension)
    return (values / np.linalg.norm(values)).astype(np.float32)


def few_values(seed: int, dimension: int) -> Floats:
    """Four components of a half: every score between two of these is exact, and many are equal."""
    rng = np.random.default_rng(seed)
    vector = np.zeros(dimension, np.float32)
    vector[rng.choice(dimension, 4, replace=False)] = rng.choice([-0.5, 0.5], 4)
    return vector


def nudged(seed: int, step: int, dimension: int) -> Floats:
    """`spread`, with one component moved by one to three units in its last place."""
    vector = spread(seed, dimension)
    at = step % dimension
    for _ in range(1 + step % 3):
        vector[at] = np.nextafter(vector[at], np.float32(2))
    return vector
