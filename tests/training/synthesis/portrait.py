"""A painted face with an exact mesh, half an ellipsoid, for tests without real photos."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay  # type: ignore[import-untyped]

from faces.types import Pixels
from training.synthesis.mesh import FaceMesh, MeshTopology
from training.synthesis.regions import BROWS, EYE_CONTOURS, LIPS

SIDE = 160
CENTRE = np.array([80.0, 78.0])
RADII = np.array([36.0, 50.0, 40.0])
EYES = ((66.0, 68.0), (94.0, 68.0))
MOUTH = (80.0, 104.0)
# fmt: off
RIM = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Portrait:
    """`pixels`: a face lit from `azimuth` degrees to the right; `mesh` fits it exactly."""

    pixels: Pixels
    mesh: FaceMesh
    topology: MeshTopology


def _ellipse(centre: tuple[float, float], half: tuple[float, float], count: int) -> NDArray[np.float64]:
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([centre[0] + half[0] * np.cos(turn), centre[1] + half[1] * np.sin(turn)], axis=1)


def ellipsoid_mesh() -> tuple[FaceMesh, MeshTopology]:
    """468 points whose named vertices (lids, brows, lips, chin, forehead, cheeks) are in place."""
    flat = np.full((468, 2), np.nan)
    for eye, brow, middle in zip(EYE_CONTOURS, BROWS, EYES, strict=True):
        flat[list(eye)] = _ellipse(middle, (8.0, 3.4), len(eye))
        flat[list(brow)] = _ellipse((middle[0], middle[1] - 9.0), (9.5, 1.7), len(brow))
    flat[list(LIPS)] = _ellipse(MOUTH, (12.0, 4.6), len(LIPS))
    # From the forehead by the picture's right: a convex rim of 36 leaves just 898 triangles.
    around = np.linspace(0, 2 * np.pi, len(RIM), endpoint=False)
    flat[list(RIM)] = CENTRE + 0.99 * np.stack([np.sin(around), -np.cos(around)], axis=1) * RADII[:2]
    free = np.flatnonzero(np.isnan(flat[:, 0]))
    k = np.arange(len(free)) + 0.5
    radius, turn = 0.95 * np.sqrt(k / len(free)), k * 2.399963
    flat[free] = CENTRE + np.stack([np.cos(turn), np.sin(turn)], axis=1) * radius[:, None] * RADII[:2]
    inside = 1.0 - (((flat - CENTRE) / RADII[:2]) ** 2).sum(axis=1)
    z = -RADII[2] * np.sqrt(np.maximum(inside, 0.0))
    triangles = Delaunay(flat).simplices.astype(np.int32)
    # Normals point out of the face, towards the camera at negative z.
    a, b, c = (flat[triangles[:, corner]] for corner in range(3))
    clockwise = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0]) > 0
    triangles[clockwise] = triangles[clockwise][:, ::-1]
    points = np.column_stack([flat, z]).astype(np.float32)
    uv = ((flat - flat.min(axis=0)) / np.ptp(flat, axis=0)).astype(np.float32)
    return FaceMesh(points=points), MeshTopology(triangles=triangles, uv=uv, canonical=points.copy())


def portrait(*, azimuth: float = 0.0, redness: float = 0.0) -> Portrait:
    """Skin on a half ellipsoid, dark hair above, eyes, brows and lips, a blue wall behind."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    u, v = (x - CENTRE[0]) / RADII[0], (y - CENTRE[1]) / RADII[1]
    w = np.sqrt(np.maximum(1.0 - u * u - v * v, 0.0))
    normal = np.stack([u / RADII[0], v / RADII[1], w / RADII[2]], axis=2)
    normal /= np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-9)
    angle = np.radians(azimuth)
    shade = 0.35 + 0.65 * np.clip(normal @ np.array([np.sin(angle), 0.0, np.cos(angle)]), 0, 1)
    face = u * u + v * v < 1.0
    skin = np.array([0.22, 0.30, 0.50])
    colour = np.ones((SIDE, SIDE, 3)) * np.array([0.45, 0.22, 0.12])
    hair = (u / 1.18) ** 2 + ((v + 0.12) / 1.2) ** 2 < 1.0
    colour[hair] = (0.020, 0.024, 0.030)
    colour[face] = skin
    lit = np.where(face[:, :, None], shade[:, :, None], 0.9)

    def inside(centre: tuple[float, float], half: tuple[float, float]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = ((x - centre[0]) / half[0]) ** 2 + ((y - centre[1]) / half[1]) ** 2 < 1
        return found

    for middle in EYES:
        colour[inside((middle[0], middle[1] - 9.0), (9.5, 1.7))] = (0.03, 0.035, 0.04)
        colour[inside(middle, (8.0, 3.4))] = (0.5, 0.5, 0.52)
        colour[inside(middle, (3.2, 3.2))] = (0.02, 0.03, 0.04)
    # Lips at redness 1 reflect less green and blue than skin, and as much red.
    lips = skin * np.array([1.0 - 0.5 * redness, 1.0 - 0.6 * redness, 1.0 - 0.12 * redness])
    colour[inside(MOUTH, (12.0, 4.6))] = lips
    linear = cv2.GaussianBlur(colour * lit, (0, 0), 0.7)
    linear *= 1.0 + 0.01 * np.random.default_rng(0).standard_normal(linear.shape)
    pixels = (np.clip(linear, 0, 1) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)
    mesh, topology = ellipsoid_mesh()
    return Portrait(pixels, mesh, topology)
