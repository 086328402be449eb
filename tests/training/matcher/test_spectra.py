"""The NIR family: pictures of the right kind, different at every draw, the same from the same seed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from training.synthesis.cameras import any_camera, plain_camera
from training.synthesis.lamps import lamps
from training.synthesis.spectra import EVERYTHING, Ingredient, fabric, scene

SIDE = 112


def a_face() -> tuple[np.ndarray, np.ndarray]:
    """A round thing lit from above, and its normals."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    inside = (x**2 + y**2) < 0.7
    z = -np.sqrt(np.clip(1 - x**2 - y**2, 0.0, 1.0))
    normals = np.dstack([x, y, z, np.ones_like(x)]) * inside[:, :, None]
    grey = np.clip(120 - 60 * y, 0, 255) * inside + 30
    pixels = np.dstack([grey * 0.6, grey * 0.8, grey]).astype(np.uint8)
    pixels[45:52, 30:45] = pixels[45:52, 67:82] = 20
    return pixels, normals.astype(np.float32)


@pytest.mark.parametrize("left_out", [None, *Ingredient])
def test_pictures_are_finite_bytes_whatever_is_left_out(left_out: Ingredient | None) -> None:
    pixels, normals = a_face()
    use = EVERYTHING - {left_out}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        made = scene(pixels, normals, rng, use)
        assert made.light.shape == (SIDE, SIDE)
        assert np.isfinite(made.light).all()
        assert (made.light >= 0).all()
        picture = any_camera(made.light, rng)
        assert picture.dtype == np.uint8
        assert picture.shape == (SIDE, SIDE, 3)


def test_no_two_draws_are_alike_and_a_seed_gives_one_picture() -> None:
    pixels, normals = a_face()

    def drawn(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return any_camera(scene(pixels, normals, rng, EVERYTHING).light, rng)

    assert np.array_equal(drawn(5), drawn(5))
    small = np.stack([cv2.resize(drawn(seed), (16, 16)).astype(float).ravel() for seed in range(40)])
    # Of forty cameras' pictures of one face, many are far from each other.
    assert np.quantile(np.corrcoef(small), 0.1) < 0.8


def test_the_face_is_still_there() -> None:
    pixels, normals = a_face()
    dark = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        picture = plain_camera(scene(pixels, normals, rng, EVERYTHING).light, rng).astype(float)
        dark += picture[46:51, 33:42].mean() < picture[56:61, 33:42].mean()
    assert dark > 32


def test_a_lamp_at_the_side_lights_one_cheek() -> None:
    _, normals = a_face()
    face = np.ones((SIDE, SIDE), np.float32)
    ratios = []
    for seed in range(60):
        lit = lamps(normals, face, np.random.default_rng(seed))
        ratios.append(np.log(lit[40:70, 20:40].mean() / lit[40:70, 72:92].mean()))
    assert np.std(ratios) > 0.2
    assert abs(np.mean(ratios)) < 0.3


def test_fabric_is_mostly_bright_but_not_always() -> None:
    rng = np.random.default_rng(0)
    levels = np.array([fabric(rng, EVERYTHING) for _ in range(2000)])
    assert 0.5 < (levels > 1.0).mean() < 0.75
    assert (levels < 0.6).mean() > 0.15
    narrow = np.array([fabric(rng, EVERYTHING - {Ingredient.FABRIC}) for _ in range(200)])
    assert narrow.min() > 1.0
