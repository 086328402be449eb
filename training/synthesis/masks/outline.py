"""Computes the edges of a mask, in centimetres on the unwrapped face.

The plane is the canonical face unrolled from a cylinder around the neck: `u` = angle x 8 cm,
to the right of the picture; `y` = height, up, 0 at the nose tip. Chin (0, -9.4), eyes y = 2.6,
ears at u = +-12.5. Below the jaw line `y` measures along the cloth, under the chin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.synthesis.masks.designs import Coverage, MaskDesign

Floats = NDArray[np.float32]

RADIUS_CM = 8.0
TOP_CM: dict[Coverage, float] = {"low": -1.7, "medium": 0.4, "high": 1.9}
SIDE_TOP_CM: dict[Coverage, float] = {"low": -2.0, "medium": -0.9, "high": -0.3}
STEPS = 8
_T = np.linspace(0.0, 1.0, STEPS, endpoint=False)[:, None] ** np.arange(4)
# Catmull-Rom: the points of one span from its four knots.
BASIS = _T @ np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2


@dataclass(frozen=True, slots=True)
class Corners:
    """Points of the right half: middle of the upper edge, both ends of the side, middle of the lower edge."""

    top: tuple[float, float]
    side_top: tuple[float, float]
    side_bottom: tuple[float, float]
    bottom: tuple[float, float]


def corners(design: MaskDesign) -> Corners:
    """Returns the four points that define the outline."""
    top = TOP_CM[design.coverage] + design.lift_cm
    side = SIDE_TOP_CM[design.coverage] + 0.5 * design.lift_cm
    bottom = (0.0, -9.4 - design.drop_cm)
    if design.cut == "fold":
        width = 9.0 if design.shape == "wide" else 7.6
        return Corners((0.0, top), (width, side - 1.4), (width, side - 3.4), bottom)
    if design.cut == "seam":
        width = 8.8 if design.shape == "wide" else 7.4
        return Corners((0.0, top + 0.2), (width, side), (width - 0.5, -4.6), (0.0, bottom[1] - 0.5))
    if design.shape == "wide":
        return Corners((0.0, top), (9.3, side), (9.2, -5.7), bottom)
    return Corners((0.0, top), (7.0, side - 1.6), (6.9, -5.2), bottom)


def top_edge(design: MaskDesign) -> Floats:
    """Returns the upper edge from the middle to the side, [n, 2].

    It dips beside the nose, as under a wire.
    """
    c = corners(design)
    y0, y1, width = c.top[1], c.side_top[1], c.side_top[0]
    knots = [
        c.top,
        (1.1, y0 - 0.15),
        (2.6, y0 - 0.3 * max(0.4, y0 - y1)),
        (0.62 * width, y1 + 0.32 * (y0 - y1)),
    ]
    if design.shape == "round" and design.cut in ("cup", "plain"):
        knots = [c.top, (1.6, y0 - 0.1), (3.6, y0 - 0.75), (5.7, y1 + 0.35 * (y0 - y1))]
    return smooth([*knots, c.side_top])


def bottom_edge(design: MaskDesign) -> Floats:
    """Returns the lower edge from the side to the middle, [n, 2]: along the jaw and under it."""
    c = corners(design)
    x, y, low = c.side_bottom[0], c.side_bottom[1], c.bottom[1]
    if design.cut == "seam":
        knots = [(0.62 * x, y + 0.56 * (low - y)), (0.28 * x, y + 0.86 * (low - y))]
    elif design.cut == "fold":
        knots = [(0.78 * x, y + 0.52 * (low - y)), (0.45 * x, y + 0.88 * (low - y))]
    elif design.shape == "wide":
        knots = [(0.74 * x, y + 0.56 * (low - y)), (0.4 * x, y + 0.88 * (low - y))]
    else:
        knots = [(0.84 * x, y + 0.42 * (low - y)), (0.48 * x, y + 0.84 * (low - y))]
    return smooth([c.side_bottom, *knots, c.bottom])


def side_edge(design: MaskDesign) -> Floats:
    """Returns the side from its upper to its lower end, [n, 2]: pulled in by the loops, or round as a cup."""
    c = corners(design)
    bulge = 0.25 if design.shape == "round" and design.cut in ("cup", "plain") else -0.15
    middle = ((c.side_top[0] + c.side_bottom[0]) / 2 + bulge, (c.side_top[1] + c.side_bottom[1]) / 2)
    return smooth([c.side_top, middle, c.side_bottom])


def outline(design: MaskDesign) -> Floats:
    """Returns the closed edge [n, 2]."""
    half = np.concatenate([top_edge(design), side_edge(design)[1:], bottom_edge(design)[1:]])
    other = half[-2:0:-1] * np.array([-1.0, 1.0], np.float32)
    return np.concatenate([half, other])


def smooth(knots: list[tuple[float, float]]) -> Floats:
    """Returns an open Catmull-Rom curve through the knots, [n, 2]."""
    p = np.array(knots, np.float64)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    parts = [BASIS @ p[start : start + 4] for start in range(len(p) - 3)]
    return np.concatenate([*parts, p[-2:-1]]).astype(np.float32)
