"""Warps the lower half of one fitted face over another: a real mask from a photo, on another face."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthesis.masks.raster import FAR, fill
from training.synthesis.mesh import FaceMesh, MeshTopology

Floats = NDArray[np.float32]

# In the canonical face (centimetres, y up) the nose's tip lies near -0.6, the mouth between -6 and -2.6.
TOP_CM, SIDE_FALL = (-0.6, 1.4), (0.05, 0.25)
FEATHER_PX = 1.2


def transplant(
    donor: Floats,
    donor_mesh: FaceMesh,
    mesh: FaceMesh,
    topology: MeshTopology,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """What covers a face, and its light: cover [h, w] 0 to 1, and cloth [h, w, 3], premultiplied.

    `donor`: linear light [h', w', 3] of a photo of somebody who wears a mask, `donor_mesh` in its pixels;
    `mesh`: in pixels of the picture of `size` (h, w) that is covered.
    """
    top, fall = rng.uniform(*TOP_CM), rng.uniform(*SIDE_FALL)
    canonical = topology.canonical
    low = canonical[:, 1] < top - fall * np.abs(canonical[:, 0])
    chosen = np.ascontiguousarray(topology.triangles[low[topology.triangles].all(1)])
    depth = np.full(size, FAR, np.float32)
    at = np.full((*size, 2), -1.0, np.float32)
    fill(mesh.points, np.ascontiguousarray(donor_mesh.points[:, :2]), chosen, depth, at)
    cover = (depth < FAR).astype(np.uint8)
    cover = cv2.morphologyEx(cover, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    cover = cv2.erode(cover, np.ones((3, 3), np.uint8))
    soft = np.asarray(cv2.GaussianBlur(cover.astype(np.float32), (0, 0), FEATHER_PX), np.float32)
    cloth = cv2.remap(
        donor,
        np.ascontiguousarray(at[:, :, 0]),
        np.ascontiguousarray(at[:, :, 1]),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return soft, np.asarray(cloth * soft[:, :, None], np.float32)
