"""Tests how a probability of a mask is read."""

from __future__ import annotations

import pytest

from faces.bundle import DetectedMask
from faces.masks import MaskReading, MaskState, read_mask

BAND = (0.3, 0.8)


@pytest.mark.parametrize(
    ("probability", "state", "masked"),
    [
        (0.0, MaskState.UNMASKED, False),
        (0.29, MaskState.UNMASKED, False),
        (0.3, MaskState.UNCERTAIN, False),
        (0.49, MaskState.UNCERTAIN, False),
        (0.5, MaskState.UNCERTAIN, True),
        (0.8, MaskState.UNCERTAIN, True),
        (0.81, MaskState.MASKED, True),
        (1.0, MaskState.MASKED, True),
    ],
)
def test_a_probability_inside_the_band_is_uncertain(
    probability: float, state: MaskState, masked: bool
) -> None:
    read = read_mask(probability, threshold=0.5, band=BAND)
    assert (read.state, read.masked, read.probability) == (state, masked, probability)


def test_without_a_band_only_an_overexposed_face_is_uncertain() -> None:
    assert read_mask(0.5, threshold=0.5).state is MaskState.MASKED
    assert read_mask(0.49, threshold=0.5).state is MaskState.UNMASKED
    burnt = read_mask(0.99, threshold=0.5, overexposed=True)
    assert burnt == MaskReading(MaskState.UNCERTAIN, True, 0.99)
    assert read_mask(0.01, threshold=0.5, overexposed=True).state is MaskState.UNMASKED


def test_both_conditions_are_possible_where_the_state_is_uncertain() -> None:
    assert read_mask(0.4, threshold=0.5, band=BAND).possible == (False, True)
    assert read_mask(0.9, threshold=0.5, band=BAND).possible == (True,)
    assert read_mask(0.1, threshold=0.5, band=BAND).possible == (False,)


def test_a_reading_does_not_contradict_itself() -> None:
    with pytest.raises(ValueError, match="the state is masked"):
        MaskReading(MaskState.MASKED, False, 0.9)
    with pytest.raises(ValueError, match="probability"):
        MaskReading(MaskState.MASKED, True, 1.1)


@pytest.mark.parametrize("band", [(0.6, 0.9), (0.1, 0.4), (-0.1, 0.6)])
def test_a_band_lies_around_its_threshold(band: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"both sides|greater than or equal"):
        DetectedMask(decoder="detector", threshold=0.5, uncertain=band)
