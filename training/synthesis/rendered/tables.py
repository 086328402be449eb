"""Defines look-up tables: bilinear sampling at many points, and tileable noise."""

from __future__ import annotations

import cv2
import numpy as np

from training.synthesis.rendered.model import Floats


def remap(table: Floats, x: Floats, y: Floats, *, wrap: bool = False) -> Floats:
    """Looks up `table` [h, w, k] bilinearly at pixel positions [n]: float32 [n, k]."""
    rows = 2048
    count = len(x)
    padded = -(-max(count, 1) // rows) * rows
    grid = np.zeros((2, padded), np.float32)
    grid[0, :count], grid[1, :count] = x, y
    if wrap:
        grid[0] %= table.shape[1]
        grid[1] %= table.shape[0]
    border = cv2.BORDER_WRAP if wrap else cv2.BORDER_REPLICATE
    shape = (padded // rows, rows)
    planes = table.reshape(table.shape[0], table.shape[1], -1)
    parts = [
        cv2.remap(
            np.ascontiguousarray(planes[..., k : k + 4]),
            grid[0].reshape(shape),
            grid[1].reshape(shape),
            cv2.INTER_LINEAR,
            borderMode=border,
        ).reshape(padded, -1)[:count]
        for k in range(0, planes.shape[2], 4)
    ]
    result: Floats = np.concatenate(parts, axis=1).astype(np.float32)
    return result


def noise_table(seed: int, *, side: int = 512, sigma: float = 0.0) -> Floats:
    """Returns tileable smooth noise float32 [side, side, 1], mean 0 and deviation 1."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(side, side)).astype(np.float32)
    if sigma > 0:
        pad = int(4 * sigma) + 1
        wide = cv2.GaussianBlur(np.pad(table, pad, mode="wrap"), (0, 0), sigma)
        table = wide[pad:-pad, pad:-pad]
    table = (table - table.mean()) / max(float(table.std()), 1e-9)
    result: Floats = table[..., None].astype(np.float32)
    return result
