"""Tests the z-buffer of the rendered family against a search over all triangles at every pixel centre."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.synthesis.rendered.raster import rasterise

SIZE = (20, 28)
# Within so much of an edge, or of another triangle's depth, rounding may decide.
UNSURE = 1e-4


def weights_at(corners: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """The barycentric weights of a place in the picture plane, for `corners` [3, 2]."""
    rows = np.vstack([corners.T, np.ones(3)])
    return np.linalg.solve(rows, np.append(place, 1.0))


@pytest.mark.parametrize("cull", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_every_pixel_shows_the_nearest_triangle_and_its_perspective(seed: int, *, cull: bool) -> None:
    random = np.random.default_rng(seed)
    points = random.uniform(-6, 34, (45, 2)).astype(np.float32)
    near = random.uniform(0.05, 0.2, 45).astype(np.float32)
    near[:2] = -0.1  # Behind the camera: whatever has such a corner is left out.
    triangles = random.permuted(np.tile(np.arange(45), (25, 1)), axis=1)[:, :3].astype(np.int32)
    values = random.normal(size=(45, 2)).astype(np.float32)
    seen = rasterise(points, near, triangles, size=SIZE, cull=cull)
    sampled = dict(zip(seen.pixels.tolist(), seen.sample(values), strict=True))
    checked = 0
    for y, x in np.ndindex(SIZE):
        found, unsure = [], False
        for number, corners in enumerate(triangles):
            a, b, c = points[corners].astype(np.float64)
            area = (b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]
            if (near[corners] <= 0).any() or (cull and area >= 0):
                continue
            weights = weights_at(np.stack([a, b, c]), np.array([x + 0.5, y + 0.5]))
            unsure |= bool(np.abs(weights).min() < UNSURE)
            if (weights >= 0).all():
                found.append((float(weights @ near[corners]), number, weights))
        found.sort(key=lambda one: one[0], reverse=True)
        if unsure or (len(found) > 1 and found[0][0] - found[1][0] < UNSURE):
            continue
        checked += 1
        if not found:
            assert seen.triangle[y, x] == -1
            assert seen.near[y, x] == 0
            continue
        depth, number, weights = found[0]
        assert seen.triangle[y, x] == number
        assert seen.near[y, x] == pytest.approx(depth, rel=1e-3)
        corners = triangles[number]
        expected = (weights * near[corners]) @ values[corners] / depth
        np.testing.assert_allclose(sampled[y * SIZE[1] + x], expected, atol=5e-3)
    assert checked > 400


def test_a_mesh_without_triangles_shows_nothing() -> None:
    seen = rasterise(
        np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros((0, 3), np.int32), size=SIZE
    )
    assert (seen.triangle == -1).all()
    assert len(seen.pixels) == 0
