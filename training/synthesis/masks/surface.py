"""Builds the sheet of cloth, a surface that follows any fitted face.

The sheet is built once on the canonical face: the face's radius around the neck, bridged where cloth
hangs free (an obstacle problem), curled under the jaw where the mesh ends. Each point of the sheet is
an affine combination of the mesh points near it (moving least squares). So laying it over a face is one
matrix product, and the cloth follows any affine change of the face exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthesis.masks.designs import Coverage
from training.synthesis.masks.outline import RADIUS_CM, SIDE_TOP_CM, TOP_CM
from training.synthesis.masks.raster import FAR, fill
from training.synthesis.mesh import MeshTopology

Floats = NDArray[np.float32]

# The plane's extent in cm: left, right, bottom, top.
LEFT, RIGHT, BOTTOM, TOP = -12.6, 12.6, -13.2, 4.2
COLUMNS, ROWS = 37, 30
FINE = 4
AXIS_Z_CM = -2.5
# The distance of cloth from the skin.
STANDOFF_CM = 0.22
BRIDGE_ROUNDS, BRIDGE_CM = 80, 0.4
# How far each centimetre of cloth below the jaw line goes down and inwards.
UNDER_DOWN, UNDER_IN = 0.45, 0.9
REACH_CM = 1.8
# A small weight for every vertex keeps the local fit well-posed away from the surface.
FLOOR = 2e-3


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """`weights`: float32 [points, 468], rows sum to 1; `plane`: float32 [points, 2], u and y in cm;
    `triangles`: int32 [n, 3], fronts outwards; `canonical`: float32 [points, 3], cm."""

    weights: Floats
    plane: Floats
    triangles: NDArray[np.int32]
    canonical: Floats

    def part(self, low: NDArray[np.floating], high: NDArray[np.floating]) -> Sheet:
        """Returns the part that covers a box of the plane, in whole triangles."""
        at = self.plane[self.triangles]
        keep = ((at.max(axis=1) >= low) & (at.min(axis=1) <= high)).all(axis=1)
        used, index = np.unique(self.triangles[keep], return_inverse=True)
        triangles = index.reshape(-1, 3).astype(np.int32)
        return Sheet(
            np.ascontiguousarray(self.weights[used]), self.plane[used], triangles, self.canonical[used]
        )


def affine_weights(targets: NDArray[np.floating], vertices: NDArray[np.floating]) -> Floats:
    """Returns weights by moving least squares (Levin 1998), float32 [targets, vertices], exact for
    affine maps."""
    gap = vertices[None].astype(np.float64) - targets[:, None]
    squared = (gap**2).sum(axis=2)
    # The nearest skin counts fully, even if the cloth is far from it.
    near = squared.min(axis=1, keepdims=True)
    kernel = np.exp(-(squared - near) / (2 * REACH_CM**2)) + FLOOR
    rows = np.concatenate([np.ones((*squared.shape, 1)), gap], axis=2)
    moment = np.einsum("tv,tvi,tvj->tij", kernel, rows, rows)
    first = np.zeros((len(targets), 4, 1))
    first[:, 0] = 1.0
    solved = np.linalg.solve(moment, first)[:, :, 0]
    weights: Floats = np.einsum("tv,tvi,ti->tv", kernel, rows, solved).astype(np.float32)
    return weights


def build_sheet(topology: MeshTopology, coverage: Coverage) -> Sheet:
    """Builds the sheet for one nose coverage; the face above the upper edge does not push the cloth out."""
    columns, rows = (COLUMNS - 1) * FINE + 1, (ROWS - 1) * FINE + 1
    u = np.linspace(LEFT, RIGHT, columns)
    y = np.linspace(TOP, BOTTOM, rows)
    radius, jaw = _face_radius(topology, columns, rows)
    radius += STANDOFF_CM
    slope = (TOP_CM[coverage] - SIDE_TOP_CM[coverage]) / 9.0
    edge = TOP_CM[coverage] - slope * np.abs(u) + 0.4
    first = np.clip(np.searchsorted(-y, -edge), 0, rows - 1)
    above = np.arange(rows)[:, None] < first[None]
    radius = np.where(above, radius[first, np.arange(columns)][None], radius)
    step = (RIGHT - LEFT) / (columns - 1)
    cloth = radius.astype(np.float32)
    for _ in range(BRIDGE_ROUNDS):
        cloth = np.maximum(
            radius, cv2.GaussianBlur(cloth, (0, 0), BRIDGE_CM / step, borderType=cv2.BORDER_REPLICATE)
        )
    cloth = cv2.GaussianBlur(cloth, (0, 0), 0.3 / step, borderType=cv2.BORDER_REPLICATE)
    below = np.maximum(jaw[None] - y[:, None], 0.0)
    height = y[:, None] + (1 - UNDER_DOWN) * below
    angle = u / RADIUS_CM
    x = cloth * np.sin(angle)[None]
    z = AXIS_Z_CM + cloth * np.cos(angle)[None]
    points = np.stack([x, height, z], axis=2)[::FINE, ::FINE].reshape(-1, 3)
    plane = np.stack(np.meshgrid(u[::FINE], y[::FINE]), axis=2).reshape(-1, 2)
    weights = affine_weights(points, topology.canonical)
    return Sheet(weights, plane.astype(np.float32), _grid_triangles(), points.astype(np.float32))


def _face_radius(topology: MeshTopology, columns: int, rows: int) -> tuple[Floats, Floats]:
    """Unrolls the canonical face: returns radius [rows, columns] in cm, filled below the jaw, and the
    jaw's y."""
    x, y, z = topology.canonical.T
    scale_u, scale_y = (columns - 1) / (RIGHT - LEFT), (rows - 1) / (TOP - BOTTOM)
    radius = np.hypot(x, z - AXIS_Z_CM)
    angle = np.arctan2(x, z - AXIS_Z_CM)
    unrolled = np.stack([(angle * RADIUS_CM - LEFT) * scale_u, (TOP - y) * scale_y, -radius], axis=1)
    depth = np.full((rows, columns), FAR, np.float32)
    found = np.zeros((rows, columns, 1), np.float32)
    fill(unrolled.astype(np.float32), radius[:, None].astype(np.float32), topology.triangles, depth, found)
    seen = depth < FAR
    heights = np.linspace(TOP, BOTTOM, rows)
    jaw_row = np.array([np.flatnonzero(column).max(initial=0) for column in seen.T])
    jaw_row = np.where(seen.any(axis=0), jaw_row, 0)
    full = np.flatnonzero(jaw_row > 0)
    jaw = np.interp(np.arange(columns), full, heights[jaw_row[full]])
    at_jaw = np.interp(np.arange(columns), full, found[jaw_row[full], full, 0])
    below = np.maximum(jaw[None] - heights[:, None], 0.0)
    under = np.maximum(at_jaw[None] - UNDER_IN * below, 1.0)
    filled = np.where(seen, found[:, :, 0], under)
    return filled.astype(np.float32), jaw.astype(np.float32)


def _grid_triangles() -> NDArray[np.int32]:
    index = np.arange(ROWS * COLUMNS, dtype=np.int32).reshape(ROWS, COLUMNS)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    # Counter-clockwise with y up, as in the OBJ file; with y down such a triangle faces the camera.
    both = np.stack([np.stack([a, c, b], axis=2), np.stack([b, c, d], axis=2)], axis=2)
    return np.ascontiguousarray(both.reshape(-1, 3))
