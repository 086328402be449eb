"""Rasterises triangles with a z-buffer, compiled by numba."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

DEPTH_STEPS = float(2**31 - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """The triangle that each pixel shows.

    `triangle`: int32 [height, width], -1 for none. `near`: float32 [height, width], 1 / depth, and 0
    for no triangle. `pixels`: int64 [n] flat indices of the covered pixels,
    `corners`: int32 [n, 3], the vertices of their triangles; `weights`: float32 [n, 3], their
    perspective-correct barycentric weights.
    """

    triangle: NDArray[np.int32]
    near: NDArray[np.float32]
    pixels: NDArray[np.int64]
    corners: NDArray[np.int32]
    weights: NDArray[np.float32]

    def sample(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Interpolates `values` [vertices, k] at the covered pixels: float32 [n, k]."""
        at = values[self.corners]
        result: NDArray[np.float32] = np.einsum("nck,nc->nk", at, self.weights)
        return result


def _edges(
    corners: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Returns barycentric weights in the picture plane of points (x, y) [n], corners [n, 3, 2]."""
    ax, ay = corners[:, 0, 0], corners[:, 0, 1]
    bx, by = corners[:, 1, 0] - ax, corners[:, 1, 1] - ay
    cx, cy = corners[:, 2, 0] - ax, corners[:, 2, 1] - ay
    area = bx * cy - by * cx
    scale: NDArray[np.float32] = (1.0 / area).astype(np.float32)
    px, py = x - ax, y - ay
    second = (px * cy - py * cx) * scale
    third = (py * bx - px * by) * scale
    first: NDArray[np.float32] = 1.0 - second - third
    return first, second, third


# No fastmath: every step is rounded as in `_edges`, so that a picture stays what it was.
@njit(cache=True, nogil=True)
def _fill(
    points: NDArray[np.float32],
    near: NDArray[np.float32],
    triangles: NDArray[np.int32],
    top: np.float32,
    cull: bool,
    best: NDArray[np.uint64],
) -> None:
    """Keeps the nearest triangle at every pixel centre of `best` [height, width].

    The others as in `rasterise`. A key has 1 / depth, in steps of `top`, above the triangle's number; 0 is no
    triangle.
    """
    height, width = best.shape
    one, half, flat = np.float32(1.0), np.float32(0.5), np.float32(1e-9)
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        if not (near[a] > 0 and near[b] > 0 and near[c] > 0):
            continue
        ax, ay = points[a, 0], points[a, 1]
        bx, by = points[b, 0] - ax, points[b, 1] - ay
        cx, cy = points[c, 0] - ax, points[c, 1] - ay
        area = bx * cy - by * cx
        if area >= -flat if cull else abs(area) <= flat:
            continue
        left = max(0, int(np.ceil(min(ax, points[b, 0], points[c, 0]) - half)))
        right = min(width - 1, int(np.floor(max(ax, points[b, 0], points[c, 0]) - half)))
        upper = max(0, int(np.ceil(min(ay, points[b, 1], points[c, 1]) - half)))
        lower = min(height - 1, int(np.floor(max(ay, points[b, 1], points[c, 1]) - half)))
        scale = one / area
        for y in range(upper, lower + 1):
            py = np.float32(y) + half - ay
            for x in range(left, right + 1):
                px = np.float32(x) + half - ax
                second = (px * cy - py * cx) * scale
                third = (py * bx - px * by) * scale
                first = one - second - third
                if first >= 0 and second >= 0 and third >= 0:
                    at = first * near[a] + second * near[b] + third * near[c]
                    level = min(max(at / top, np.float32(0.0)), one)
                    key = (np.uint64(np.float64(level) * DEPTH_STEPS + 1.0) << np.uint64(32)) | np.uint64(t)
                    if key > best[y, x]:
                        best[y, x] = key


def rasterise(
    points: NDArray[np.float32],
    near: NDArray[np.float32],
    triangles: NDArray[np.int32],
    *,
    size: tuple[int, int],
    cull: bool = True,
) -> Coverage:
    """Finds the nearest triangle at every pixel centre.

    `points`: float32 [vertices, 2] in pixels; `near`: 1 / depth, positive in front of the camera;
    `triangles`: int32 [n, 3]; `size` = (height, width). With `cull`, triangles that face
    away are left out; the front is clockwise in a picture whose y points down.
    """
    height, width = size
    keys = np.zeros(size, np.uint64)
    _fill(points, near, triangles, np.float32(near.max(initial=1e-9)), cull, keys)
    best = keys.reshape(-1)
    pixels = np.flatnonzero(best)
    rows = (best[pixels] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    px = (pixels % width).astype(np.float32) + np.float32(0.5)
    py = (pixels // width).astype(np.float32) + np.float32(0.5)
    flat_weights = np.stack(_edges(points[triangles[rows]], px, py), axis=1)
    leaning = flat_weights * near[triangles[rows]]
    total = leaning.sum(axis=1)
    triangle = np.full(height * width, -1, np.int32)
    triangle[pixels] = rows
    distance = np.zeros(height * width, np.float32)
    distance[pixels] = total
    return Coverage(
        triangle=triangle.reshape(size),
        near=distance.reshape(size),
        pixels=pixels.astype(np.int64),
        corners=triangles[rows],
        weights=(leaning / total[:, None]).astype(np.float32),
    )
