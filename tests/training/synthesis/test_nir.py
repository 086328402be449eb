"""Tests the training pseudo-NIR: appearance at 850 nm, and repeatability."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from faces.image import recognise_spectrum
from faces.types import Spectrum
from tests.training.synthesis.portrait import EYES, MOUTH, SIDE, Portrait, portrait
from training.synthesis import sensor
from training.synthesis.nir import TrainNir, TrainNirRanges, transform
from training.synthesis.regions import find_regions
from training.synthesis.simple import to_linear

Floats = NDArray[np.float32]
SEEDS = range(8)
NEVER_CHEAP = TrainNirRanges(cheap_share=0.0)


@pytest.fixture(scope="module")
def sitter() -> Portrait:
    return portrait(redness=1.0)


def at(values: Floats, x: float, y: float, half: int = 2) -> float:
    """Mean of a small square."""
    ix, iy = round(x), round(y)
    return float(values[iy - half : iy + half + 1, ix - half : ix + half + 1].mean())


@pytest.mark.parametrize("with_mesh", [True, False])
def test_a_picture_is_grey_of_the_same_size_and_repeats(sitter: Portrait, with_mesh: bool) -> None:
    mesh = sitter.mesh if with_mesh else None
    one, same, other = (
        transform(TrainNir(), sitter.pixels, mesh, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert one.shape == sitter.pixels.shape
    assert one.dtype == np.uint8
    assert recognise_spectrum(one) is Spectrum.NIR
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_regions_find_skin_head_and_irises(sitter: Portrait) -> None:
    regions = find_regions(to_linear(sitter.pixels), sitter.mesh)
    assert at(regions.skin, 80, 85) > 0.9
    assert at(regions.skin, 62, 88) > 0.9
    assert at(regions.skin, *EYES[0]) < 0.2, "an eye is no skin"
    assert at(regions.skin, 8, 40) < 0.05, "nor is the wall"
    assert at(regions.head, 80, 22) > 0.8, "hair belongs to the head"
    assert at(regions.head, 8, 40) < 0.1
    for eye, truth in zip(regions.eyes, EYES, strict=True):
        assert np.hypot(eye.centre[0] - truth[0], eye.centre[1] - truth[1]) < 1.5
        assert 2.0 < eye.radius_px < 5.0


def test_lips_lose_contrast_and_hair_gains_light(sitter: Portrait) -> None:
    grey = to_linear(sitter.pixels) @ np.array([0.11, 0.59, 0.30], np.float32)
    lips_before = at(grey, *MOUTH) / at(grey, 80, 88)
    hair_before = at(grey, 80, 24) / at(grey, 80, 88)
    lips, hair = [], []
    for seed in SEEDS:
        light = TrainNir(NEVER_CHEAP).scene(sitter.pixels, sitter.mesh, np.random.default_rng(seed))
        lips.append(at(light, *MOUTH) / at(light, 80, 88))
        hair.append(at(light, 80, 24) / at(light, 80, 88))
    assert lips_before < 0.65
    assert min(lips) > 0.8
    assert min(hair) > 1.25 * hair_before


def test_skin_gets_the_drawn_reflectance_and_the_background_darkens(sitter: Portrait) -> None:
    ranges = TrainNirRanges(cheap_share=0.0, background=(0.1, 0.1), skin_level=(0.5, 0.5))
    light = TrainNir(ranges).scene(sitter.pixels, sitter.mesh, np.random.default_rng(3))
    open_air = TrainNirRanges(cheap_share=0.0, background=(1.0, 1.0), skin_level=(0.5, 0.5))
    bright = TrainNir(open_air).scene(sitter.pixels, sitter.mesh, np.random.default_rng(3))
    assert at(light, 80, 88) == pytest.approx(0.5, abs=0.06)
    assert at(light, 8, 40) == pytest.approx(0.1 * at(bright, 8, 40), rel=0.15)
    assert at(light, 80, 88) == pytest.approx(at(bright, 80, 88), rel=0.02)


def test_light_from_the_side_is_divided_out() -> None:
    side = portrait(azimuth=45.0)
    grey = to_linear(side.pixels).mean(axis=2)
    before = np.log(at(grey, 98, 85) / at(grey, 62, 85))
    after = []
    for seed in SEEDS:
        light = TrainNir(NEVER_CHEAP).scene(side.pixels, side.mesh, np.random.default_rng(seed))
        after.append(abs(np.log(at(light, 98, 85) / at(light, 62, 85))))
    assert before > 0.25
    assert np.mean(after) < 0.5 * before


def test_both_corneas_get_a_glint(sitter: Portrait) -> None:
    glints = TrainNirRanges(cheap_share=0.0, glint_share=1.0)
    none = TrainNirRanges(cheap_share=0.0, glint_share=0.0)
    with_lamp, without = (
        TrainNir(ranges).scene(sitter.pixels, sitter.mesh, np.random.default_rng(4))
        for ranges in (glints, none)
    )
    added = with_lamp - without
    for x, y in EYES:
        patch = added[round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5]
        assert patch.max() > 0.1
    far = np.ones_like(added, np.bool_)
    for x, y in EYES:
        cv2.circle(view := far.astype(np.uint8), (round(x), round(y)), 8, 0, -1)
        far &= view > 0
    assert np.abs(added[far]).max() < 1e-3


def test_the_cheap_recipe_takes_one_channel_unchanged(sitter: Portrait) -> None:
    cheap = TrainNir(TrainNirRanges(cheap_share=1.0))
    linear = to_linear(sitter.pixels)
    matched = set()
    for seed in range(12):
        light = cheap.scene(sitter.pixels, sitter.mesh, np.random.default_rng(seed))
        ratios = [float(np.std(light / np.maximum(linear[..., c], 1e-5))) for c in range(3)]
        matched.add(int(np.argmin(ratios)))
        assert min(ratios) < 1e-3
    assert matched == {0, 1, 2}


def test_a_bright_mask_reduces_the_exposure(sitter: Portrait) -> None:
    generator = TrainNir(TrainNirRanges(cheap_share=0.0, jpeg_share=0.0))
    light = generator.scene(sitter.pixels, sitter.mesh, np.random.default_rng(0))
    worn = light.copy()
    worn[88:128, 50:110] = 2.0
    bare, masked = (
        generator.develop(values, np.random.default_rng(9))[..., 0].astype(np.float32)
        for values in (light, worn)
    )
    assert at(masked, 80, 50, 4) < 0.8 * at(bare, 80, 50, 4)


def test_flat_dark_and_tiny_pictures_give_valid_pixels() -> None:
    for value, side in itertools.product((0, 255), (16, 65)):
        flat = np.full((side, side + 3, 3), value, np.uint8)
        out = transform(TrainNir(), flat, None, np.random.default_rng(0))
        assert out.shape == flat.shape


def test_noise_grows_with_the_light() -> None:
    rng = np.random.default_rng(0)
    dim, bright = (
        sensor.shot_and_read(np.full((SIDE, SIDE), level, np.float32), rng, electrons=1000, read=0.001)
        for level in (0.05, 0.8)
    )
    assert bright.std() == pytest.approx(np.sqrt(0.8 / 1000), rel=0.05)
    assert dim.std() == pytest.approx(np.sqrt(0.05 / 1000 + 1e-6), rel=0.05)


def test_the_centre_meter_clips_no_more_than_allowed() -> None:
    light = np.full((100, 100), 0.1, np.float32)
    light[:10] = 5.0
    exposed = sensor.meter_centre(light, level=0.4, tightness=2.0, clipped=0.01)
    assert (exposed > 1.0001).mean() <= 0.01
