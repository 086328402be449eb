"""Draws ear loops from the corners of a mask to the ears, which lie beyond the mesh."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.types import Pixels
from training.synthesis.masks.designs import MaskDesign
from training.synthesis.masks.outline import corners
from training.synthesis.masks.surface import Sheet, affine_weights
from training.synthesis.mesh import MeshTopology

Floats = NDArray[np.float32]

# Where a loop ends behind the ear at the right of the picture, in cm of the canonical face.
EAR_TOP = np.array([7.9, 2.2, -3.4])
EAR_BOTTOM = np.array([7.6, -1.6, -3.4])
BAND_CM = 0.3
STEPS = 5
SHIFT = 4
# Mesh points in front of the ears; a loop is hidden if its point faces away.
BEFORE_EARS = (234, 454)


def loop_weights(design: MaskDesign, sheet: Sheet, topology: MeshTopology) -> Floats:
    """Returns float32 [2 sides, 2 bands, points, 468], the left side of the picture first."""
    c = corners(design)
    lines = []
    for side in (-1.0, 1.0):
        for corner, ear in ((c.side_top, EAR_TOP), (c.side_bottom, EAR_BOTTOM)):
            at = np.array([side * (corner[0] - 0.3), corner[1] + (-0.35 if ear is EAR_TOP else 0.35)])
            start = sheet.canonical[np.argmin(((sheet.plane - at) ** 2).sum(axis=1))]
            end = ear * np.array([side, 1.0, 1.0])
            share = np.linspace(0.0, 1.0, STEPS)[:, None]
            line = start * (1 - share) + end * share
            # The loop goes round the cheek, not through it.
            line[:, 0] += side * 0.5 * np.sin(np.pi * share[:, 0])
            lines.append(line)
    flat = affine_weights(np.concatenate(lines), topology.canonical)
    return flat.reshape(2, 2, STEPS, -1)


def draw_loops(
    loops: Floats, normals: Floats, size: tuple[int, ...], px_per_cm: float
) -> tuple[Pixels, float]:
    """Returns where the loops that face the camera lie, uint8 [h, w], and their coverage.

    `loops`: [2, 2, points, 3] pixels; `normals`: of the mesh.
    """
    band = np.zeros(size[:2], np.uint8)
    width = BAND_CM * px_per_cm
    for side, vertex in enumerate(BEFORE_EARS):
        if normals[vertex, 2] > 0.1:
            continue
        lines = [np.round(line[:, :2] * (1 << SHIFT)).astype(np.int32) for line in loops[side]]
        cv2.polylines(band, lines, False, (255,), max(1, round(width)), cv2.LINE_AA, SHIFT)
    # A band thinner than a pixel covers a part of the pixel.
    return band, min(1.0, width)
