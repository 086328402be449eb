"""Unit vectors for gallery tests: spread out, exactly tied, and closer than float32 scores resolve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def spread(seed: int, dimension: int) -> Floats:
    """Returns vectors in random directions."""
    values = np.random.default_rng(seed).normal(size=dimension)
    return (values / np.linalg.norm(values)).astype(np.float32)


def few_values(seed: int, dimension: int) -> Floats:
    """Returns vectors with four components of a half, whose scores are exact and often equal."""
    rng = np.random.default_rng(seed)
    vector = np.zeros(dimension, np.float32)
    vector[rng.choice(dimension, 4, replace=False)] = rng.choice([-0.5, 0.5], 4)
    return vector


def nudged(seed: int, step: int, dimension: int) -> Floats:
    """Returns `spread` with one component moved by one to three units in the last place."""
    vector = spread(seed, dimension)
    at = step % dimension
    for _ in range(1 + step % 3):
        vector[at] = np.nextafter(vector[at], np.float32(2))
    return vector
