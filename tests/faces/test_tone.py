"""Tests that dark frames, and no others, are brightened."""

from __future__ import annotations

import numpy as np
import pytest

from faces.tone import brightened

SHADES = np.repeat(np.tile(np.arange(0, 200, dtype=np.uint8), (50, 1))[:, :, None], 3, axis=2)


@pytest.mark.parametrize("gain", [0.5, 0.2, 0.1])
def test_a_dark_frame_is_stretched_over_all_levels(gain: float) -> None:
    dark = (SHADES * gain).astype(np.uint8)
    lit = brightened(dark)
    assert (int(lit.min()), int(lit.max())) == (5, 250)
    rising = lit[0, :, 1].astype(int)
    assert (np.diff(rising) >= 0).all(), "brighter stays brighter"


def test_a_normal_a_bright_and_an_empty_frame_stay_as_they_are() -> None:
    for pixels in (SHADES, np.clip(SHADES + 100.0, 0, 255).astype(np.uint8), np.zeros((9, 9, 3), np.uint8)):
        assert np.array_equal(brightened(pixels), pixels)


def test_the_colour_of_a_dark_frame_keeps_its_order() -> None:
    dark = np.zeros((20, 20, 3), np.uint8)
    dark[:, 10:] = (10, 20, 30)
    blue, green, red = (int(v) for v in brightened(dark)[0, 15])
    assert blue < green < red
