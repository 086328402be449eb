"""Tests the parts of mask synthesis: designs, spline, z-buffer, templates, 2D baseline, contact sheet,
command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from faces.types import Pixels, Spectrum
from tests.conftest import SAMPLES
from tests.training.synthesis.portrait import EYES, MOUTH, ellipsoid_mesh, portrait
from training.synthesis.assets import SynthesisError
from training.synthesis.masks.designs import NIST_REFLECTANCES, MaskDesign, nist_matrix
from training.synthesis.masks.draw_design import draw_design
from training.synthesis.masks.landmarks import apply_flat_mask
from training.synthesis.masks.paint import paint
from training.synthesis.masks.raster import FAR, fill, normals
from training.synthesis.masks.sheet import contact_sheet
from training.synthesis.masks.spline import ThinPlate
from training.synthesis.masks.templates import TemplateSet, load_templates
from training.synthesis.mesh import vertex_normals
from training.synthesis.simple import to_linear
from training.views.masked_pictures import MasksReport, make_masks

NAMES = ("KN95", "N95", "cloth", "cloth_left", "surgical", "surgical_green")


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> TemplateSet:
    """Drawn photos in the layout of MaskTheFace: green left half, red right half."""
    place = tmp_path_factory.mktemp("masks")
    (place / "templates").mkdir()
    photo = np.zeros((240, 300, 4), np.uint8)
    cv2.ellipse(photo, (150, 120), (140, 110), 0, 0, 360, (40, 200, 40, 255), -1)
    photo[:, 150:, :3] = (40, 40, 200)
    lines = []
    for name in NAMES:
        cv2.imwrite(str(place / "templates" / f"{name}.png"), photo)
        points = zip(
            "abcdef", ((15, 70), (150, 10), (285, 70), (40, 190), (150, 230), (260, 190)), strict=True
        )
        lines += [f"[{name}]", f"template: x/{name}.png", *(f"mask_{k}: {x}, {y}" for k, (x, y) in points)]
    (place / "masks.cfg").write_text("\n".join([*lines, "[gas]", "template: x/gas.png", "[empty]", ""]))
    return load_templates(place)


def test_training_and_test_masks_are_disjoint_families(templates: TemplateSet) -> None:
    families = {}
    for held_out in (False, True):
        rng = np.random.default_rng(3)
        drawn = [
            draw_design(rng, nir=bool(k % 2), templates=templates, held_out=held_out) for k in range(400)
        ]
        assert all(design.held_out is held_out for design in drawn)
        assert {design.shape for design in drawn} == {"wide", "round"}
        families[held_out] = {d.template or d.cut for d in drawn}
    assert families[False] == {"pleated", "plain", "cup", "N95", "cloth", "surgical"}
    assert families[True] == {"seam", "fold", "KN95", "surgical_green"}


def test_near_infrared_draws_follow_the_prior() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_design(rng, nir=True, templates=None, held_out=False) for _ in range(1000)]
    levels = np.array([design.reflectance for design in drawn])
    assert (np.ptp(levels, axis=1) == 0).all()
    bright = levels[:, 0] >= 0.6
    assert bright.mean() == pytest.approx(0.75, abs=0.05)
    assert ((levels[~bright, 0] >= 0.1) & (levels[~bright, 0] <= 0.35)).all()
    assert draw_design(np.random.default_rng(5), nir=True, templates=None, held_out=False) == draw_design(
        np.random.default_rng(5), nir=True, templates=None, held_out=False
    )


def test_the_nist_matrix_has_24_different_designs() -> None:
    cells = {(d.shape, d.coverage, d.reflectance[0]) for d in nist_matrix()}
    assert len(cells) == len(nist_matrix()) == 24
    assert {cell[2] for cell in cells} == set(NIST_REFLECTANCES)


def test_impossible_designs_are_refused() -> None:
    good = nist_matrix()[0]
    fields = {name: getattr(good, name) for name in ("shape", "coverage", "reflectance", "spectrum")}
    for wrong in (
        {"reflectance": (0.1, 0.2, 0.3)},
        {"reflectance": (1.2, 1.2, 1.2)},
        {"drop_cm": 9.0},
        {"pleats": 9},
        {"lift_cm": 2.0},
    ):
        with pytest.raises(ValueError, match=r"reflectance|pleats"):
            MaskDesign(**{**fields, **wrong})


def test_a_thin_plate_spline_interpolates_its_points_and_reproduces_affine_maps() -> None:
    rng = np.random.default_rng(1)
    source, target = rng.uniform(0, 100, (8, 2)), rng.uniform(0, 100, (8, 2))
    assert ThinPlate(source, target)(source) == pytest.approx(target, abs=1e-3)
    turn = np.array([[0.8, -0.3], [0.2, 1.1]])
    elsewhere = rng.uniform(-50, 150, (4, 5, 2))
    affine = ThinPlate(source, source @ turn.T + 7.0)
    assert affine(elsewhere) == pytest.approx(elsewhere @ turn.T + 7.0, abs=1e-2)
    for bad in (source[:2], np.linspace(0, 1, 6)[:, None] * np.ones((1, 2))):
        with pytest.raises(ValueError, match="points"):
            ThinPlate(bad, bad)


def test_the_nearest_front_wins_and_values_are_interpolated() -> None:
    far = [[0, 0, 5], [0, 20, 5], [20, 0, 5]]
    near = [[0, 0, 1], [0, 10, 1], [10, 0, 1]]
    points = np.array(far + near, np.float32)
    values = np.concatenate([points[:3, :1], np.full((3, 1), 50)]).astype(np.float32)
    triangles = np.array([[3, 4, 5], [0, 1, 2]], np.int32)
    depth, out = np.full((24, 24), FAR, np.float32), np.full((24, 24, 1), -1, np.float32)
    fill(points, values, triangles, depth, out)
    assert out[2, 3, 0] == 50.0
    assert out[2, 15, 0] == pytest.approx(15.0, abs=1e-3)
    assert depth[2, 15] == pytest.approx(5.0)
    assert out[15, 15, 0] == -1.0
    # Turned around it is a back, and is left out.
    fill(points, values, triangles[:, ::-1].copy(), depth, out := np.full((24, 24, 1), -1, np.float32))
    assert (out == -1).all()


def test_normals_by_numba_and_by_numpy_agree() -> None:
    mesh, topology = ellipsoid_mesh()
    compiled = np.empty((468, 3), np.float32)
    normals(mesh.points, topology.triangles, compiled)
    assert compiled == pytest.approx(vertex_normals(mesh.points, topology.triangles), abs=1e-3)


def test_only_templates_with_a_photo_are_loaded(templates: TemplateSet) -> None:
    assert templates.names == tuple(sorted(NAMES))
    assert templates.frontal(held_out=False) == ("N95", "cloth", "surgical")
    assert templates.frontal(held_out=True) == ("KN95", "surgical_green")
    with pytest.raises(KeyError, match="cloth, cloth_left"):
        templates["gas"]


def test_broken_template_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match=r"masks\.cfg"):
        load_templates(tmp_path)
    (tmp_path / "masks.cfg").write_text("[a]\ntemplate: a.png\nmask_a: 1, 2\n")
    with pytest.raises(SynthesisError, match="none"):
        load_templates(tmp_path)
    (tmp_path / "templates").mkdir()
    cv2.imwrite(str(tmp_path / "templates" / "a.png"), np.zeros((9, 9, 4), np.uint8))
    with pytest.raises(SynthesisError, match=r"masks\.cfg.*mask_b"):
        load_templates(tmp_path)


def design(template: str | None, spectrum: Spectrum = Spectrum.VIS, level: float = 1.0) -> MaskDesign:
    return MaskDesign(
        shape="wide",
        coverage="high",
        reflectance=(level, level, level),
        spectrum=spectrum,
        template=template,
        relief=0.0,
    )


def test_the_anchors_place_a_template_in_the_plane(templates: TemplateSet) -> None:
    texture = paint(design("cloth"), templates["cloth"], 152)
    colour, cover = texture.texels[:, :, :3], texture.texels[:, :, 3]
    left, right = texture.at(np.array([[-3.0, -4.0], [3.0, -4.0]], np.float32)).round().astype(int)
    assert colour[left[1], left[0], 1] > 3 * colour[left[1], left[0], 2]
    assert colour[right[1], right[0], 2] > 3 * colour[right[1], right[0], 1]
    assert cover[left[1], left[0]] > 0.99
    assert cover[:, 0].max() == 0.0
    grey = paint(design("cloth", Spectrum.NIR, 0.5), templates["cloth"], 152).texels
    worn = grey[grey[:, :, 3] > 0.9]
    assert float(worn[:, :3].mean()) == pytest.approx(0.5, rel=0.1)
    assert np.ptp(worn[:, :3], axis=1).max() < 1e-6


def test_the_flat_baseline_covers_the_mouth(templates: TemplateSet) -> None:
    sitter = portrait()
    linear = to_linear(sitter.pixels)
    nose, corners = (80.0, 86.0), ((70.0, 104.0), (90.0, 104.0))
    landmarks = (*EYES, nose, *corners)
    worn = apply_flat_mask(linear, landmarks, design("cloth"), templates["cloth"])
    left, right = worn[round(MOUTH[1]), 70], worn[round(MOUTH[1]), 90]
    assert left[1] > 3 * left[2]
    assert right[2] > 3 * right[1]
    assert (worn[:60] == linear[:60]).all()
    jaw = [((56.0, 112.0), (80.0, 140.0))]
    longer = apply_flat_mask(linear, landmarks, design("cloth"), templates["cloth"], extra=jaw)
    reach = [np.flatnonzero((w != linear).any(axis=(1, 2))).max() for w in (worn, longer)]
    assert reach[1] > reach[0]


def test_a_contact_sheet_has_a_row_for_each_picture() -> None:
    tall, wide = np.full((40, 20, 3), 255, np.uint8), np.full((10, 30, 3), 255, np.uint8)
    sheet = contact_sheet([[tall, wide], [wide]], side_px=32)
    assert sheet.shape == (2 * 36 + 4, 2 * 36 + 4, 3)
    assert (sheet[20, 4 + 16] == 255).all()
    assert sheet[40:, 40:].max() < 255
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])


@pytest.mark.realdata
def test_the_command_masks_a_folder_and_lists_unusable_pictures(
    tmp_path: Path, shared: Path, bundle_dir: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "in" / "out"
    (source / "a").mkdir(parents=True)
    shutil.copy(SAMPLES / "s01" / "vis_1.jpg", source / "a" / "one.jpg")
    (source / "broken.jpg").write_bytes(b"no picture")
    cv2.imwrite(str(source / "wall.png"), np.full((90, 90, 3), 90, np.uint8))
    templates = shared / "data" / "mask_templates"

    def run() -> MasksReport:
        return make_masks(
            source, out, bundle=bundle_dir, models=shared / "models", templates=templates, variants=2, seed=4
        )

    report = run()
    assert (report.pictures, report.written) == (1, 2)
    assert {entry.path for entry in report.unusable} == {"broken.jpg", "wall.png"}
    assert "wall.png: no face found" in (out / "unusable.txt").read_text()
    before = picture(source / "a" / "one.jpg")
    lines = [json.loads(line) for line in (out / "designs.jsonl").read_text().splitlines()]
    made = [picture(out / line["path"]) for line in lines]
    assert len(made) == 2
    for worn in made:
        assert worn.shape == before.shape
        assert (worn != before).any()
    assert bool((made[0] != made[1]).any())
    assert report.sheet == out / "before-after.png"
    # A second run finds the same pictures, not its own output, and makes the same masks.
    assert run() == report
    assert all((picture(out / line["path"]) == old).all() for line, old in zip(lines, made, strict=True))


def picture(path: Path) -> Pixels:
    pixels = cv2.imread(str(path))
    assert pixels is not None
    return np.asarray(pixels, np.uint8)


def test_the_command_refuses_a_folder_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pictures"):
        make_masks(tmp_path, tmp_path / "out")
