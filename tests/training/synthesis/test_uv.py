"""Equation (4) in texture space, on a painted portrait with an exact mesh, without photo and network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from faces.types import Spectrum
from tests.training.synthesis.portrait import CENTRE, EYES, MOUTH, RADII, Portrait, portrait
from training.synthesis.masks.designs import MaskDesign
from training.synthesis.masks.uv import SIDE_PX, MaskTexture, UvMasker, masked_texture
from training.synthesis.mesh import MeshTopology
from training.synthesis.simple import to_linear

Floats = NDArray[np.float32]

PLAIN = MaskDesign(
    shape="wide",
    coverage="high",
    reflectance=(0.75, 0.75, 0.75),
    spectrum=Spectrum.NIR,
    loops=None,
    relief=0.0,
    wire=False,
)


@pytest.fixture(scope="module")
def sitter() -> Portrait:
    return portrait()


@pytest.fixture(scope="module")
def masker(sitter: Portrait) -> UvMasker:
    """The portrait as a canonical face in cm, y up; v of the texture map grows upwards too."""
    flat = (sitter.mesh.points[:, :2] - CENTRE) / RADII[:2] * (7.7, -9.2) + (0.0, 0.8)
    depth = -sitter.mesh.points[:, 2] / RADII[2] * 9.0 - 2.4
    canonical = np.column_stack([flat, depth]).astype(np.float32)
    uv = ((flat - flat.min(axis=0)) / np.ptp(flat, axis=0)).astype(np.float32)
    return UvMasker(MeshTopology(sitter.topology.triangles.copy(), uv, canonical))


@pytest.fixture(scope="module")
def light(sitter: Portrait) -> Floats:
    return to_linear(sitter.pixels)


def inside(scale: float) -> NDArray[np.bool_]:
    """Where the portrait's face is, shrunk by `scale`."""
    y, x = np.mgrid[0:160, 0:160]
    found: NDArray[np.bool_] = (((x - CENTRE[0]) / RADII[0]) ** 2 + ((y - CENTRE[1]) / RADII[1]) ** 2) < (
        scale**2
    )
    return found


def test_the_maps_of_a_picture_give_the_picture_back(
    masker: UvMasker, sitter: Portrait, light: Floats
) -> None:
    positions = masker.position_map(sitter.mesh)
    assert positions.shape == (SIDE_PX, SIDE_PX, 3)
    # The middle of the map is the middle of the face, the nearest part of it.
    low, high = sitter.mesh.points.min(axis=0), sitter.mesh.points.max(axis=0)
    middle = positions[SIDE_PX // 2, SIDE_PX // 2]
    assert np.abs(middle[:2] - (low[:2] + high[:2]) / 2).max() < 2
    assert middle[2] < low[2] + 2
    texture = masker.texture_map(light, positions)
    back = masker.draw_back(light, texture, sitter.mesh)
    # Outside the face nothing changes; inside, the picture passes two resamplings.
    assert (back[~inside(1.02)] == light[~inside(1.02)]).all()
    error = np.abs(back - light)[inside(0.95)]
    assert error.mean() < 0.01
    assert np.percentile(error, 99) < 0.06


def test_the_masks_region_is_removed_and_its_texture_added() -> None:
    """Equation (4), by hand: T_MI = T_M + T_I without the region."""
    texture = np.full((2, 2, 3), 0.4, np.float32)
    region = np.array([[1.0, 0.0], [0.5, 0.0]], np.float32)
    mask = MaskTexture(region[:, :, None] * np.float32(0.8), region)
    made = masked_texture(texture, mask)[:, :, 0]
    assert np.allclose(made, [[0.8, 0.4], [0.5 * 0.8 + 0.5 * 0.4, 0.4]])


def test_a_mask_covers_mouth_and_chin_in_its_own_colour(
    masker: UvMasker, sitter: Portrait, light: Floats
) -> None:
    dark = light * np.float32(0.3)
    for picture in (light, dark):
        before = picture.copy()
        worn = masker.apply(picture, sitter.mesh, PLAIN)
        assert (picture == before).all()
        for x, y in (MOUTH, (CENTRE[0], CENTRE[1] + 0.9 * RADII[1])):
            # The template's colour, whatever the light is.
            assert np.abs(worn[round(y), round(x)] - 0.75).max() < 0.06
        eyes = [(slice(round(y) - 5, round(y) + 4), slice(round(x) - 8, round(x) + 8)) for x, y in EYES]
        assert max(float(np.abs(worn[eye] - picture[eye]).mean()) for eye in eyes) < 0.03
        # It ends with the face, where the sheet of the other engine reaches under the chin.
        assert (worn[~inside(1.02)] == picture[~inside(1.02)]).all()


def test_a_higher_mask_covers_more_texels(masker: UvMasker) -> None:
    covered = [
        float(masker.mask_texture(replace(PLAIN, coverage=coverage)).region.sum())
        for coverage in ("low", "medium", "high")
    ]
    assert covered[0] < covered[1] < covered[2]


def test_an_unknown_template_is_refused(masker: UvMasker, sitter: Portrait, light: Floats) -> None:
    with pytest.raises(KeyError, match="no templates were given"):
        masker.apply(light, sitter.mesh, replace(PLAIN, template="KN95"))
