"""Rasterises triangles with a z-buffer in plain numpy, in batches by the size of their bounding box."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BOX_SIDES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
BATCH_CELLS = 2_000_000
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


def _batches(first: NDArray[np.int64], last: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], int]]:
    side = (last - first).max(axis=1) + 1
    lower = 0
    for upper in BOX_SIDES:
        chosen = np.flatnonzero((side > lower) & (side <= upper))
        step = max(1, BATCH_CELLS // (upper * upper))
        for start in range(0, len(chosen), step):
            yield chosen[start : start + step], upper
        lower = upper


def _edges(
    corners: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Returns barycentric weights in the picture plane of points (x, y), corners [n, 3, 2]."""
    ax, ay = corners[:, 0, 0], corners[:, 0, 1]
    bx, by = corners[:, 1, 0] - ax, corners[:, 1, 1] - ay
    cx, cy = corners[:, 2, 0] - ax, corners[:, 2, 1] - ay
    area = bx * cy - by * cx
    scale: NDArray[np.float32] = (1.0 / area).astype(np.float32)
    extra = (slice(None),) + (None,) * (x.ndim - 1)
    px, py = x - ax[extra], y - ay[extra]
    second = (px * cy[extra] - py * cx[extra]) * scale[extra]
    third = (py * bx[extra] - px * by[extra]) * scale[extra]
    first: NDArray[np.float32] = 1.0 - second - third
    return first, second, third


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
    corners = points[triangles]
    b, c = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0]
    first = np.ceil(corners.min(axis=1) - 0.5).astype(np.int64)
    last = np.floor(corners.max(axis=1) - 0.5).astype(np.int64)
    limit = np.array([width - 1, height - 1])
    first, last = np.maximum(first, 0), np.minimum(last, limit)
    seen = (last >= first).all(axis=1) & (near[triangles] > 0).all(axis=1)
    seen &= (area < -1e-9) if cull else (np.abs(area) > 1e-9)
    kept = np.flatnonzero(seen)
    corners, first, last = corners[kept], first[kept], last[kept]
    depth = near[triangles[kept]]
    top = float(near.max(initial=1e-9))

    best = np.zeros(height * width, np.uint64)
    for rows, side in _batches(first, last):
        steps = np.arange(side, dtype=np.int64)
        x = first[rows, 0][:, None, None] + steps[None, None, :]
        y = first[rows, 1][:, None, None] + steps[None, :, None]
        shape = (len(rows), side, side)
        fx = np.broadcast_to(x, shape).astype(np.float32) + np.float32(0.5)
        fy = np.broadcast_to(y, shape).astype(np.float32) + np.float32(0.5)
        w0, w1, w2 = _edges(corners[rows], fx, fy)
        inside = (w0 >= 0) & (w1 >= 0) & (w2 >= 0)
        inside &= (x <= last[rows, 0][:, None, None]) & (y <= last[rows, 1][:, None, None])
        d = depth[rows][:, :, None, None]
        at = w0 * d[:, 0] + w1 * d[:, 1] + w2 * d[:, 2]
        where = np.nonzero(inside)
        level = np.clip(at[where] / top, 0.0, 1.0).astype(np.float64) * DEPTH_STEPS + 1.0
        key = (level.astype(np.uint64) << np.uint64(32)) | rows[where[0]].astype(np.uint64)
        flat = (y * width + x)[where] if side == 1 else np.broadcast_to(y * width + x, shape)[where]
        np.maximum.at(best, flat, key)

    pixels = np.flatnonzero(best)
    rows = (best[pixels] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    px = (pixels % width).astype(np.float32) + np.float32(0.5)
    py = (pixels // width).astype(np.float32) + np.float32(0.5)
    flat_weights = np.stack(_edges(corners[rows], px, py), axis=1)
    leaning = flat_weights * depth[rows]
    total = leaning.sum(axis=1)
    triangle = np.full(height * width, -1, np.int32)
    triangle[pixels] = kept[rows]
    distance = np.zeros(height * width, np.float32)
    distance[pixels] = total
    return Coverage(
        triangle=triangle.reshape(size),
        near=distance.reshape(size),
        pixels=pixels.astype(np.int64),
        corners=triangles[kept[rows]],
        weights=(leaning / total[:, None]).astype(np.float32),
    )
