"""Defines the reflectance of each material: linear red, green, blue, and one value at 850 nm.

Skin is a pale base seen through melanin and haemoglobin (Beer-Lambert with one coefficient for
each channel). Both absorb little at 850 nm, so skin tones, redness, lips and freckles lose contrast;
so does hair pigment, and a dark iris becomes mid-grey.
"""

from __future__ import annotations

import numpy as np

from training.synthesis.rendered.model import Floats

SKIN_BASE = np.array([0.70, 0.53, 0.45], np.float32)
SKIN_BASE_NIR = 0.62
MELANIN = np.array([1.75, 2.25, 2.65], np.float32)
MELANIN_NIR = 0.42
BLOOD = np.array([0.10, 0.62, 0.50], np.float32)
BLOOD_NIR = 0.05
HAIR_LIFT_NIR = 0.11
HAIR_GAIN_NIR = 0.75
LUMINANCE = np.array([0.30, 0.59, 0.11], np.float32)
SCLERA = np.array([0.52, 0.48, 0.455], np.float32)
SCLERA_NIR = 0.42
TEETH = np.array([0.62, 0.56, 0.47], np.float32)
TEETH_NIR = 0.5
MOUTH = np.array([0.22, 0.07, 0.06], np.float32)
MOUTH_NIR = 0.3


def skin(melanin: Floats, blood: Floats, *, near_infrared: bool) -> Floats:
    """Returns albedo float32 [n, 3] of skin; amounts [n], about 0 to 1."""
    if near_infrared:
        return grey((SKIN_BASE_NIR * np.exp(-MELANIN_NIR * melanin - BLOOD_NIR * blood)).astype(np.float32))
    result: Floats = SKIN_BASE * np.exp(-melanin[:, None] * MELANIN - blood[:, None] * BLOOD)
    return result


def hair(colour: tuple[float, float, float], *, near_infrared: bool) -> Floats:
    """Returns albedo float32 [3] of a strand; pigment absorbs less past 750 nm, so every colour is
    lighter."""
    visible = np.asarray(colour, np.float32)
    if not near_infrared:
        return visible
    value = HAIR_LIFT_NIR + HAIR_GAIN_NIR * float(visible @ LUMINANCE)
    return np.full(3, value, np.float32)


def iris(colour: tuple[float, float, float], *, near_infrared: bool) -> Floats:
    """Returns albedo float32 [3] of an iris; at 850 nm brown and blue irises differ little."""
    visible = np.asarray(colour, np.float32)
    if not near_infrared:
        return visible
    return np.full(3, 0.17 + 0.35 * float(visible @ LUMINANCE), np.float32)


def brow(strands: Floats) -> Floats:
    """Returns the albedo of brows and lashes, darker than the hair of the head, mostly for pale hair."""
    result: Floats = strands * np.float32(0.62 - 0.8 * min(float(strands @ LUMINANCE), 0.3))
    return result


def cloth(colour: tuple[float, float, float], reflectance: float, *, near_infrared: bool) -> Floats:
    """Returns albedo float32 [3] of dyed cloth; past 750 nm dyes fade and the fibre's reflectance stays."""
    if near_infrared:
        return np.full(3, reflectance, np.float32)
    return np.asarray(colour, np.float32) * np.float32(0.75)


def grey(values: Floats) -> Floats:
    """Repeats [n] to [n, 3] with three equal channels."""
    return np.repeat(np.asarray(values, np.float32)[:, None], 3, axis=1)
