"""Tests masks on a painted portrait with an exact mesh, without photo and network."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from faces.types import Spectrum
from tests.training.synthesis.portrait import CENTRE, EYES, MOUTH, RADII, Portrait, portrait
from training.synthesis.masks.designs import COVERAGES, MaskDesign, nist_matrix
from training.synthesis.masks.outline import outline
from training.synthesis.masks.paint import BOTTOM, LEFT, RIGHT, TOP, width_for
from training.synthesis.masks.painter import MaskPainter
from training.synthesis.masks.surface import affine_weights, build_sheet
from training.synthesis.mesh import MeshTopology
from training.synthesis.simple import to_linear

Floats = NDArray[np.float32]

PLAIN = MaskDesign(
    shape="wide",
    coverage="high",
    reflectance=(0.75, 0.75, 0.75),
    spectrum=Spectrum.NIR,
    cut="pleated",
    pleats=3,
    loops=None,
)


@pytest.fixture(scope="module")
def sitter() -> Portrait:
    return portrait()


@pytest.fixture(scope="module")
def topology(sitter: Portrait) -> MeshTopology:
    """The portrait's half ellipsoid as a canonical face: centimetres, y up, z towards the camera."""
    # The eyes are painted a little low: 0.8 cm puts them where a real face has them.
    flat = (sitter.mesh.points[:, :2] - CENTRE) / RADII[:2] * (7.7, -9.2) + (0.0, 0.8)
    depth = -sitter.mesh.points[:, 2] / RADII[2] * 9.0 - 2.4
    canonical = np.column_stack([flat, depth]).astype(np.float32)
    return MeshTopology(sitter.topology.triangles, sitter.topology.uv, canonical)


@pytest.fixture(scope="module")
def painter(topology: MeshTopology) -> MaskPainter:
    return MaskPainter(topology)


@pytest.fixture(scope="module")
def grey(sitter: Portrait) -> Floats:
    return np.repeat(to_linear(sitter.pixels)[:, :, 2:], 3, axis=2)


def changed(before: Floats, after: Floats) -> NDArray[np.bool_]:
    """Where the picture is another one, beyond a shadow."""
    different: NDArray[np.bool_] = np.abs(after - before).max(axis=2) > 0.02
    return different


def at(picture: NDArray[np.generic], point: tuple[float, float]) -> NDArray[np.generic]:
    return np.asarray(picture[round(point[1]), round(point[0])])


def test_a_mask_covers_mouth_and_chin_and_not_the_eyes(
    painter: MaskPainter, sitter: Portrait, grey: Floats
) -> None:
    for shape in ("wide", "round"):
        design = replace(PLAIN, shape=shape, cut="plain")
        worn = painter.apply(grey, sitter.mesh, design)
        assert worn.dtype == np.float32
        where = changed(grey, worn)
        assert at(where, MOUTH)
        chin = (CENTRE[0], CENTRE[1] + RADII[1] - 2)
        assert at(where, chin)
        # It reaches under the chin, beyond the mesh.
        assert where[round(chin[1]) + 3, round(chin[0])]
        for x, y in EYES:
            eye = (slice(round(y) - 14, round(y) + 4), slice(round(x) - 8, round(x) + 8))
            assert not where[eye].any()
        assert (worn[:40] == grey[:40]).all()


def test_a_mask_does_not_change_its_input_and_grey_stays_grey(
    painter: MaskPainter, sitter: Portrait, grey: Floats
) -> None:
    before = grey.copy()
    worn = painter.apply(grey, sitter.mesh, replace(PLAIN, loops=(0.6, 0.6, 0.6)))
    assert (grey == before).all()
    assert np.ptp(worn, axis=2).max() < 1e-6
    assert np.isfinite(worn).all()
    assert worn.min() >= 0.0


def test_a_higher_coverage_covers_more_pixels(painter: MaskPainter, sitter: Portrait, grey: Floats) -> None:
    for shape in ("wide", "round"):
        areas = [
            int(
                changed(grey, painter.apply(grey, sitter.mesh, replace(PLAIN, shape=shape, coverage=c))).sum()
            )
            for c in COVERAGES
        ]
        assert areas[0] * 1.1 < areas[1]
        assert areas[1] * 1.05 < areas[2]


def test_brightness_follows_reflectance_and_exposure(
    painter: MaskPainter, sitter: Portrait, grey: Floats
) -> None:
    levels = []
    for level in (0.15, 0.35, 0.75, 0.92):
        worn = painter.apply(grey, sitter.mesh, replace(PLAIN, reflectance=(level,) * 3))
        levels.append(float(worn[90:118, 66:94].mean()))
    assert levels == sorted(levels)
    assert levels[2] / levels[0] == pytest.approx(0.75 / 0.15, rel=0.1)
    # Half the light on everything is half the light on the mask.
    half = painter.apply(grey * np.float32(0.5), sitter.mesh, PLAIN)
    assert float(half[90:118, 66:94].mean()) == pytest.approx(levels[2] / 2, rel=0.05)


def test_the_cloth_is_lit_from_the_side_of_the_face_light(
    painter: MaskPainter, topology: MeshTopology
) -> None:
    for azimuth in (-60.0, 60.0):
        lit = portrait(azimuth=azimuth)
        linear = to_linear(lit.pixels)
        worn = painter.apply(linear, lit.mesh, replace(PLAIN, cut="plain", relief=0.0))
        left, right = float(worn[92:112, 54:66].mean()), float(worn[92:112, 94:106].mean())
        assert (right > 1.15 * left) if azimuth > 0 else (left > 1.15 * right)


def test_pleats_and_relief_change_the_picture(painter: MaskPainter, sitter: Portrait, grey: Floats) -> None:
    smooth = painter.apply(grey, sitter.mesh, replace(PLAIN, cut="plain", pleats=0, wire=False, relief=0.0))
    pleated = painter.apply(grey, sitter.mesh, replace(PLAIN, wire=False))
    column = slice(76, 84)
    rough = [np.abs(np.diff(w[82:122, column].mean(axis=(1, 2)))).mean() for w in (smooth, pleated)]
    assert rough[1] > 2 * rough[0]


def test_loops_reach_beyond_the_mask(painter: MaskPainter, sitter: Portrait, grey: Floats) -> None:
    without = painter.apply(grey, sitter.mesh, PLAIN)
    worn = painter.apply(grey, sitter.mesh, replace(PLAIN, loops=(0.9, 0.9, 0.9)))
    columns = np.flatnonzero(changed(without, worn).any(axis=0))
    assert columns.min() < CENTRE[0] - 0.85 * RADII[0]
    assert columns.max() > CENTRE[0] + 0.85 * RADII[0]


@pytest.mark.parametrize("side", [48, 640])
def test_a_mask_looks_the_same_at_any_picture_size(
    painter: MaskPainter, sitter: Portrait, grey: Floats, side: int
) -> None:
    factor = side / grey.shape[0]
    shift = 0.5 * factor - 0.5
    matrix = np.array([[factor, 0.0, shift], [0.0, factor, shift]])
    picture = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    worn = painter.apply(picture, sitter.mesh.moved(matrix), PLAIN)
    here = painter.apply(grey, sitter.mesh, PLAIN)
    small, reference = (cv2.resize(w, (48, 48), interpolation=cv2.INTER_AREA) for w in (worn, here))
    assert float(np.abs(small - reference).mean()) < 0.02
    bare = cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA)
    assert changed(bare, small).mean() == pytest.approx(changed(bare, reference).mean(), rel=0.1)


def test_a_mask_may_lie_partly_or_wholly_outside_the_picture(
    painter: MaskPainter, sitter: Portrait, grey: Floats
) -> None:
    away = sitter.mesh.moved(np.array([[1.0, 0, 1000], [0, 1.0, 0]]))
    assert (painter.apply(grey, away, PLAIN) == grey).all()
    low = sitter.mesh.moved(np.array([[1.0, 0, 0], [0, 1.0, 60]]))
    assert changed(grey, painter.apply(grey, low, PLAIN))[-1].any()


def test_two_painters_give_the_same_pixels_for_one_design(
    painter: MaskPainter, topology: MeshTopology, sitter: Portrait, grey: Floats
) -> None:
    first = painter.apply(grey, sitter.mesh, PLAIN)
    assert (painter.apply(grey, sitter.mesh, PLAIN) == first).all()
    assert (MaskPainter(topology).apply(grey, sitter.mesh, PLAIN) == first).all()
    assert (painter.apply(grey, sitter.mesh, replace(PLAIN, seed=1)) != first).any()


def test_wrong_pictures_and_unknown_templates_are_refused(
    painter: MaskPainter, sitter: Portrait, grey: Floats
) -> None:
    with pytest.raises(ValueError, match="float32"):
        painter.apply(grey[:, :, 0], sitter.mesh, PLAIN)
    with pytest.raises(KeyError, match="cloth"):
        painter.apply(grey, sitter.mesh, replace(PLAIN, template="cloth"))


def test_the_sheet_moves_exactly_with_an_affine_face(topology: MeshTopology) -> None:
    sheet = build_sheet(topology, "high")
    assert sheet.weights.sum(axis=1) == pytest.approx(1.0, abs=1e-4)
    turn = np.array([[0.9, 0.2, -0.1], [0.0, 1.1, 0.3], [0.2, -0.1, 0.8]], np.float32)
    moved = topology.canonical @ turn.T + np.array([5.0, -3.0, 1.0], np.float32)
    expected = sheet.canonical @ turn.T + np.array([5.0, -3.0, 1.0], np.float32)
    assert sheet.weights @ moved == pytest.approx(expected, abs=1e-3)


def test_affine_weights_depend_on_near_vertices() -> None:
    rng = np.random.default_rng(0)
    vertices = rng.uniform(-5, 5, (200, 3))
    weights = affine_weights(np.array([[0.0, 0.0, 0.0]]), vertices)[0]
    near = np.linalg.norm(vertices, axis=1) < 3
    assert np.abs(weights[near]).mean() > 5 * np.abs(weights[~near]).mean()


def test_the_sheet_reaches_under_the_chin_and_keeps_off_the_skin(topology: MeshTopology) -> None:
    sheet = build_sheet(topology, "high")
    middle = np.abs(sheet.plane[:, 0]) < 0.1
    line = sheet.canonical[middle]
    line = line[np.argsort(-line[:, 1])]
    chin = float(topology.canonical[:, 1].min())
    under = line[line[:, 1] < chin - 0.2]
    assert len(under) >= 3
    # Under the chin the cloth goes back towards the neck.
    assert (np.diff(under[:, 2]) < 0).all()
    nose = line[np.argmin(np.abs(line[:, 1]))]
    assert nose[2] > topology.canonical[:, 2].max() + 0.1


def test_every_outline_fits_the_texture() -> None:
    extreme = [replace(d, drop_cm=3.0, lift_cm=1.5) for d in nist_matrix()]
    for design in extreme + [replace(d, cut=cut) for d in extreme for cut in ("seam", "fold", "plain")]:
        edge = outline(design)
        assert (edge > (LEFT + 0.2, BOTTOM + 0.2)).all()
        assert (edge < (RIGHT - 0.2, TOP - 0.2)).all()
        assert edge[:, 0] == pytest.approx(-edge[::-1, 0][np.r_[-1, 0 : len(edge) - 1]], abs=1e-4)
    assert width_for(100.0) > width_for(3.0)
