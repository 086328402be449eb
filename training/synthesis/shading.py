"""Computes the surface of a face mesh as a camera sees it, and the shading of a photo on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from training.synthesis.regions import Floats, Regions, wide_blur
from training.synthesis.rendered.raster import rasterise

if TYPE_CHECKING:
    from training.synthesis.mesh import FaceMesh, MeshTopology

SH_RIDGE = 0.02
HUBER = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class FaceSurface:
    """The mesh as the camera sees it. `cover` 0 or 1 [h, w]; `normals` [h, w, 3] with +z towards the
    camera and y downwards; `depth` [h, w] pixels behind the nearest point. Zero off the mesh."""

    cover: Floats
    normals: Floats
    depth: Floats


def rasterise_mesh(mesh: FaceMesh, topology: MeshTopology, size: tuple[int, int]) -> FaceSurface:
    """Rasterises the mesh; its z grows away from the camera, its normals point outwards."""
    points = np.asarray(mesh.points, np.float32)
    depth = points[:, 2] - points[:, 2].min()
    # Orthographic: any value that decreases with depth orders the surfaces, and a nearly constant
    # one keeps the weights linear in the picture.
    near = (1.0 - 1e-3 * depth / max(float(depth.max()), 1e-3)).astype(np.float32)
    triangles = np.asarray(topology.triangles, np.int32)
    seen = rasterise(np.ascontiguousarray(points[:, :2]), near, triangles, size=size, cull=False)
    values = np.column_stack([mesh.normals(topology), depth]).astype(np.float32)
    flat = np.zeros((size[0] * size[1], 5), np.float32)
    found = seen.sample(values)
    found[:, :3] /= np.maximum(np.linalg.norm(found[:, :3], axis=1, keepdims=True), 1e-6)
    flat[seen.pixels, :4] = found * np.array([1.0, 1.0, -1.0, 1.0], np.float32)
    flat[seen.pixels, 4] = 1.0
    normals, depth_seen, cover = (
        np.ascontiguousarray(part) for part in (flat[:, :3], flat[:, 3], flat[:, 4])
    )
    return FaceSurface(cover.reshape(size), normals.reshape(*size, 3), depth_seen.reshape(size))


def harmonics(normals: Floats) -> Floats:
    """Returns the nine spherical harmonics to degree 2 of unit normals [n, 3], without their constants
    (Ramamoorthi and Hanrahan 2001, eq. 3): [n, 9]."""
    x, y, z = normals[:, 0], normals[:, 1], normals[:, 2]
    columns = (np.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1)
    return np.stack(columns, axis=1).astype(np.float32)


def fit_shading(light: Floats, surface: FaceSurface, regions: Regions) -> Floats:
    """Returns the log shading [h, w] of the mesh, 0 at the skin's median, and 0 if too little skin is
    visible.

    The fit is least squares with Huber weights, because stubble, brows and highlights are not shading.
    """
    chosen = (surface.cover > 0.5) & (regions.skin > 0.5)
    shade = np.zeros_like(light)
    if chosen.sum() < 60:
        return shade
    values = light[chosen].astype(np.float64)
    values /= max(float(np.median(values)), 1e-6)
    basis = harmonics(surface.normals[chosen]).astype(np.float64)
    ridge = SH_RIDGE * len(values) * np.diag([0.0] + [1.0] * 3 + [3.0] * 5)
    weights = np.ones(len(values))
    for _ in range(4):
        weighted = basis * weights[:, None]
        coefficients = np.linalg.solve(weighted.T @ basis + ridge, weighted.T @ values)
        miss = np.abs(basis @ coefficients - values)
        weights = HUBER / np.maximum(miss, HUBER)
    inside = surface.cover > 0.5
    fitted = harmonics(surface.normals[inside]) @ coefficients.astype(np.float32)
    shade[inside] = np.log(np.clip(fitted, 0.4, 2.0))
    return shade


def extend(values: Floats, cover: Floats, spread_px: float, *, beyond: float) -> Floats:
    """Extends values [h, w], known where `cover` is 1, smoothly; far away they are `beyond`."""
    sigma = max(spread_px, 1.0)
    weight = wide_blur(cover, sigma)
    carried = wide_blur(np.asarray((values - beyond) * cover, np.float32), sigma) / np.maximum(weight, 1e-3)
    outer = beyond + carried * np.clip(2.0 * weight, 0.0, 1.0)
    inner = cv2.GaussianBlur(cover, (0, 0), 0.25 * sigma)
    inner = np.clip(2.0 * inner - 1.0, 0.0, 1.0)
    return np.asarray(outer + (values - outer) * inner, np.float32)
