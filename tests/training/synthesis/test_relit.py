"""Tests the relit pseudo-NIR: it removes the photo's light and adds a lamp."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from faces.image import recognise_spectrum
from faces.types import Spectrum
from tests.training.synthesis.portrait import EYES, MOUTH, Portrait, ellipsoid_mesh, portrait
from tests.training.synthesis.test_nir import at
from training.data.lfw import Split, read_lfw
from training.synthesis.nir import TrainNir, transform
from training.synthesis.relit import RelitNir, RelitRanges, channel_law
from training.synthesis.shading import harmonics
from training.synthesis.simple import to_linear

SEEDS = range(6)


@pytest.fixture(scope="module")
def sitter() -> Portrait:
    return portrait(redness=1.0)


def relit(sitter: Portrait, ranges: RelitRanges | None = None) -> RelitNir:
    return RelitNir(sitter.topology, ranges)


def test_a_picture_is_grey_and_repeats(sitter: Portrait) -> None:
    one, same, other = (
        transform(relit(sitter), sitter.pixels, sitter.mesh, np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    assert one.shape == sitter.pixels.shape
    assert recognise_spectrum(one) is Spectrum.NIR
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_without_a_mesh_the_error_names_a_remedy(sitter: Portrait) -> None:
    with pytest.raises(ValueError, match="fit one first"):
        relit(sitter).scene(sitter.pixels, None, np.random.default_rng(0))


def test_light_from_either_side_gives_nearly_the_same_face() -> None:
    left, right = portrait(azimuth=-45.0), portrait(azimuth=45.0)
    before = np.log(to_linear(right.pixels).mean(axis=2)[60:115, 60:101])
    before -= np.log(to_linear(left.pixels).mean(axis=2)[60:115, 60:101])
    ratios = []
    for seed in SEEDS:
        one, two = (
            relit(side).scene(side.pixels, side.mesh, np.random.default_rng(seed))[60:115, 60:101]
            for side in (left, right)
        )
        ratios.append(float(np.abs(np.log(two / one)).mean()))
    assert np.abs(before).mean() > 0.2
    assert np.mean(ratios) < 0.3 * np.abs(before).mean()


def test_the_lamp_is_frontal(sitter: Portrait) -> None:
    straight = RelitRanges(lamp_aside=(0.0, 0.0))
    light = relit(sitter, straight).scene(sitter.pixels, sitter.mesh, np.random.default_rng(0))
    middle, left, right = at(light, 80, 86), at(light, 50, 86), at(light, 110, 86)
    assert left < 0.9 * middle
    assert right < 0.9 * middle
    assert left == pytest.approx(right, rel=0.12)
    aside = RelitRanges(lamp_aside=(0.6, 0.6))
    tilted = relit(sitter, aside).scene(sitter.pixels, sitter.mesh, np.random.default_rng(0))
    assert at(tilted, 106, 86) > 1.1 * at(tilted, 54, 86)


def test_the_light_of_a_near_lamp_falls_off_with_depth(sitter: Portrait) -> None:
    cheeks = []
    for distance in (15.0, 400.0):
        ranges = RelitRanges(lamp_cm=(distance, distance), lamp_aside=(0.0, 0.0))
        light = relit(sitter, ranges).scene(sitter.pixels, sitter.mesh, np.random.default_rng(0))
        cheeks.append(at(light, 52, 86) / at(light, 80, 86))
    assert cheeks[0] < 0.85 * cheeks[1]


def test_skin_shines_where_it_faces_the_lamp(sitter: Portrait) -> None:
    dull, glossy = (
        relit(sitter, RelitRanges(gloss=(gloss, gloss), lamp_aside=(0.0, 0.0))).scene(
            sitter.pixels, sitter.mesh, np.random.default_rng(0)
        )
        for gloss in (0.0, 0.15)
    )
    assert at(glossy, 80, 86) > 1.1 * at(dull, 80, 86)
    assert at(glossy, 50, 86) < 1.05 * at(dull, 50, 86)


def test_the_background_is_dark_lips_are_pale_and_eyes_have_glints(sitter: Portrait) -> None:
    linear = to_linear(sitter.pixels)
    grey = linear @ np.array([0.11, 0.59, 0.30], np.float32)
    for seed in SEEDS:
        light = relit(sitter).scene(sitter.pixels, sitter.mesh, np.random.default_rng(seed))
        skin = at(light, 80, 88)
        assert at(light, 8, 40) < 0.2 * skin
        assert at(light, *MOUTH) / skin > at(grey, *MOUTH) / at(grey, 80, 88)
        for x, y in EYES:
            assert light[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4].max() > 0.7


def test_pigments_fade_and_shading_stays() -> None:
    skin = np.array([0.22, 0.30, 0.50], np.float32)
    melanin, blood = np.array([2.42, 1.42, 1.0]), np.array([0.95, 1.0, 0.1])
    rows = [skin, skin * 0.5, skin * np.exp(-0.3 * melanin), skin * np.exp(-0.3 * blood)]
    patches = np.repeat(np.array(rows, np.float32)[:, None], 40, axis=1)
    laws = [channel_law(np.tile(row, (40, 1, 1)), unmixing=1.0)[20, 20] for row in patches]
    assert laws[1] - laws[0] == pytest.approx(np.log(0.5), abs=0.05)
    assert laws[2] - laws[0] == pytest.approx(-0.3 * 0.31, abs=0.06)
    assert laws[3] - laws[0] == pytest.approx(-0.3 * 0.03, abs=0.06)


def test_harmonics_are_orthogonal_over_the_sphere() -> None:
    k = np.arange(4000) + 0.5
    z, turn = 1 - 2 * k / 4000, k * 2.399963
    around = np.sqrt(1 - z * z)
    basis = harmonics(np.stack([around * np.cos(turn), around * np.sin(turn), z], 1).astype(np.float32))
    products = basis.T @ basis / 4000
    assert np.abs(products - np.diag(np.diag(products))).max() < 2e-3


def test_the_two_generators_differ_more_than_two_draws_of_one(sitter: Portrait) -> None:
    def face(generator: TrainNir | RelitNir, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        out = transform(generator, sitter.pixels, sitter.mesh, np.random.default_rng(seed))
        values = cv2.GaussianBlur(out[40:125, 50:111, 0], (0, 0), 1.5).astype(np.float64)
        return np.asarray((values - values.mean()) / values.std(), np.float64)

    train = [face(TrainNir(), seed) for seed in SEEDS]
    test = [face(relit(sitter), seed) for seed in SEEDS]
    within = np.mean([np.abs(a - b).mean() for a, b in itertools.pairwise(test)])
    across = np.mean([np.abs(a - b).mean() for a, b in zip(train, test, strict=True)])
    assert across > 1.2 * within


def test_a_face_at_the_border_gives_valid_pixels() -> None:
    mesh, topology = ellipsoid_mesh()
    sitter = portrait()
    cut = np.ascontiguousarray(sitter.pixels[:90, 60:])
    moved = type(mesh)(points=mesh.points - np.array([60, 0, 0], np.float32))
    out = transform(RelitNir(topology), cut, moved, np.random.default_rng(0))
    assert out.shape == cut.shape


@pytest.mark.realdata
def test_real_photos_keep_their_features(shared: Path) -> None:
    photos = read_lfw(shared / "data" / "lfw.tar", frozenset({Split.VALIDATION}))[:3]
    for identity in photos:
        pixels = np.asarray(cv2.imdecode(np.frombuffer(identity.photos[0].data, np.uint8), 1), np.uint8)
        out = transform(TrainNir(), pixels, None, np.random.default_rng(0))
        grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        window = (slice(70, 180), slice(70, 180))
        edges = [
            cv2.Sobel(cv2.GaussianBlur(p, (0, 0), 1.5), cv2.CV_32F, 0, 1)[window] for p in (out[..., 0], grey)
        ]
        assert np.corrcoef(edges[0].ravel(), edges[1].ravel())[0, 1] > 0.7
