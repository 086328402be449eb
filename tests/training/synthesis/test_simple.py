"""Tests drawn masks and pseudo-NIR: extent, and repeatability by seed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from faces.align import ALIGNMENTS
from faces.image import recognise_spectrum
from faces.types import Spectrum
from training.synthesis.simple import SimpleMask, mask_alpha, masked_vis, pseudo_nir, random_mask

POINTS = ALIGNMENTS["arcface-112"].points
Pixels = NDArray[np.uint8]


@pytest.fixture
def photo() -> Pixels:
    y, x = np.mgrid[0:112, 0:112]
    return np.stack([x + 60, y + 80, 220 - x // 2], axis=2).astype(np.uint8)


@pytest.mark.parametrize("shape", ["wide", "round"])
def test_a_mask_covers_mouth_and_chin_and_never_the_eyes(shape: str) -> None:
    reach = []
    for coverage in ("low", "medium", "high"):
        alpha = mask_alpha(SimpleMask(shape, coverage, (0.5, 0.5, 0.5)), POINTS, (112, 112))  # type: ignore[arg-type]
        for x, y in POINTS[3:]:
            assert alpha[round(y), round(x)] > 0.99
        for x, y in POINTS[:2]:
            assert alpha[round(y), round(x)] < 0.01
        assert not alpha[:55].any()
        reach.append(int(np.flatnonzero(alpha[:, 56] > 0.5)[0]))
    assert reach == sorted(reach, reverse=True), "more coverage reaches higher up the nose"
    assert len(set(reach)) == 3


def test_a_mask_changes_no_pixel_outside_itself(photo: Pixels) -> None:
    worn = masked_vis(photo, POINTS, np.random.default_rng(1))
    changed = np.abs(worn.astype(int) - photo).max(axis=2) > 2
    assert changed[85:105, 40:72].mean() > 0.9
    assert not changed[:50].any()


def test_nir_masks_are_grey_by_the_prior_and_vis_masks_coloured() -> None:
    rng = np.random.default_rng(0)
    levels = [random_mask(rng, nir=True).reflectance for _ in range(4000)]
    assert all(blue == green == red for blue, green, red in levels)
    bright = np.mean([level[0] >= 0.6 for level in levels])
    assert 0.72 < bright < 0.78
    assert all(0.1 <= level[0] <= 0.35 or 0.6 <= level[0] <= 0.95 for level in levels)
    colours = [random_mask(rng, nir=False).reflectance for _ in range(50)]
    assert any(max(colour) - min(colour) > 0.3 for colour in colours)


def test_pseudo_nir_is_grey_and_can_include_a_mask(photo: Pixels) -> None:
    plain = pseudo_nir(photo, np.random.default_rng(5))
    assert plain.shape == photo.shape
    assert np.ptp(plain, axis=2).max() == 0
    assert recognise_spectrum(plain) is Spectrum.NIR
    # A mask may happen to be as bright as the skin: many, then.
    inside = []
    for seed in range(12):
        bare = pseudo_nir(photo, np.random.default_rng(seed))
        worn = pseudo_nir(photo, np.random.default_rng(seed), landmarks=POINTS)
        inside.append(np.abs(worn.astype(int) - bare)[90:104, 45:67].mean())
    assert np.median(inside) > 8


def test_a_seed_repeats_the_pixels_and_another_seed_does_not(photo: Pixels) -> None:
    one, same, other = (
        pseudo_nir(photo, np.random.default_rng(seed), landmarks=POINTS) for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
