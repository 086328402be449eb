"""Draws hems, pleats, seams and the nose wire: height and darkness of every texel, compiled by numba."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]

FABRIC = np.float32(0.02)
HEM_CM, HEM_HEIGHT_CM, HEM_DARK = 0.45, 0.03, 0.16
PLEAT_CM, PLEAT_DARK, UNDER_PLEAT = 0.2, 0.38, 0.1
SEAM_CM, FOLD_CM, SEAM_DARK = 0.16, 0.12, 0.28
WIRE_BELOW_CM, WIRE_CM, WIRE_HEIGHT_CM, WIRE_REACH_CM = 0.8, 0.35, 0.06, 4.2


class Pattern(NamedTuple):
    """`lines`: float32 [n, 2], y in cm of pleats or folds in the middle and at the sides; `top`:
    float32 [w], y of the upper edge in each column; `reflectance`: float32 [3]; `kinds`: whether
    the lines are pleats, whether a seam runs down the middle, whether there is a nose wire;
    `sizes`: half width and the finest visible line in cm, depth of the relief.
    """

    lines: Floats
    top: Floats
    reflectance: Floats
    kinds: tuple[bool, bool, bool]
    sizes: tuple[float, float, float]


@njit(cache=True, fastmath=True, nogil=True, inline="always")
def _bump(x: float) -> float:
    return np.exp(-x * x) if -2.6 < x < 2.6 else 0.0


@njit(cache=True, fastmath=True, nogil=True)
def draw_relief(
    edge_cm: Floats, u: Floats, y: Floats, noise: Floats, pattern: Pattern, relief: Floats, texels: Floats
) -> None:
    """Adds to `relief` [h, w] in cm, and writes the albedo into `texels` [h, w, 0:3].

    `edge_cm` [h, w]: distance to the mask's edge, 0 outside; `u` [w], `y` [h]: the plane in cm.
    """
    pleated, seam, wire = pattern.kinds
    half, fine, depth = pattern.sizes
    for r in range(edge_cm.shape[0]):
        for c in range(edge_cm.shape[1]):
            across = abs(u[c])
            gap = (edge_cm[r, c] - HEM_CM) / fine
            dark = 1.0 - HEM_DARK * _bump(gap)
            if edge_cm[r, c] > 0.0:
                # A hem is a doubled band.
                rise = HEM_HEIGHT_CM * min(1.0, max(0.0, -gap))
                bow = min(across / half, 1.2) ** 2
                for n in range(pattern.lines.shape[0]):
                    middle, side = pattern.lines[n, 0], pattern.lines[n, 1]
                    above = y[r] - (middle + (side - middle) * bow)
                    if pleated:
                        # A pleat is a step with a dark line under it.
                        step = min(1.0, max(0.0, above / 0.9)) - min(1.0, max(0.0, above / fine + 0.5))
                        rise += depth * PLEAT_CM * step
                        line = (above + 0.6 * fine) / (1.2 * fine)
                        dark *= 1.0 - PLEAT_DARK * _bump(line)
                        if above < 0.0:
                            dark *= 1.0 - UNDER_PLEAT * max(0.0, 1.0 + above / 0.8)
                    else:
                        rise += depth * FOLD_CM * np.exp(-abs(above) / 0.4)
                        line = above / fine
                        dark *= 1.0 - SEAM_DARK * _bump(line)
                if seam:
                    rise += depth * SEAM_CM * np.exp(-across / 0.5)
                    line = across / fine
                    dark *= 1.0 - SEAM_DARK * _bump(line)
                if wire:
                    line = (pattern.top[c] - y[r] - WIRE_BELOW_CM) / max(WIRE_CM, fine)
                    reach = min(1.0, max(0.0, (WIRE_REACH_CM - across) / 0.4))
                    rise += WIRE_HEIGHT_CM * reach * _bump(line)
                relief[r, c] += rise
            tone = dark * (1.0 + FABRIC * noise[r, c])
            for k in range(3):
                texels[r, c, k] = min(1.0, max(0.0, pattern.reflectance[k] * tone))
