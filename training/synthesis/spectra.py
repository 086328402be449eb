"""Turns visible light into pseudo-NIR by a family of generators too wide to be learnt by heart.

A network that has seen one generator of pseudo-NIR learns that generator. Every step here is drawn from a
range far wider than any one camera's, and each can be left out, so that an ablation can measure it. All
functions take an aligned face; scores made with these pictures are synthetic and must say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.types import Pixels
from training.synthesis.lamps import lamps
from training.synthesis.simple import to_linear

Floats = NDArray[np.float32]

RED_WEIGHTED = np.array([0.02, 0.15, 0.83], np.float32)
DARKEST = 4e-3


class Ingredient(StrEnum):
    """What the family is made of; an ablation leaves some of it out."""

    CHANNELS = "channels"
    ALBEDO = "albedo"
    SHADING = "shading"
    LIGHT = "light"
    CAMERA = "camera"
    FABRIC = "fabric"


EVERYTHING = frozenset(Ingredient)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A face without its mask: linear `light` [s, s] with skin near 0.5, and what lights it anew [s, s]."""

    light: Floats
    lit: Floats


def scene(pixels: Pixels, normals: Floats, rng: np.random.Generator, use: frozenset[Ingredient]) -> Scene:
    """uint8 [s, s, 3] blue-green-red with its normal map [s, s, 4]
    (`training.matcher.mask_layers.normal_map`)."""
    linear = to_linear(pixels)
    grey = np.maximum(_channels(linear, rng) if Ingredient.CHANNELS in use else linear @ RED_WEIGHTED, 0.0)
    face = np.asarray(cv2.GaussianBlur(normals[:, :, 3], (0, 0), 1.5), np.float32)
    light = _level(_decomposed(linear, grey, face, rng, use), face)
    lit = np.ones_like(light)
    if Ingredient.LIGHT in use:
        lit = lamps(normals, face, rng)
        light = light * lit
    return Scene(np.asarray(light, np.float32), lit)


def _channels(linear: Floats, rng: np.random.Generator) -> Floats:
    """One grey of three channels: mixtures, mixtures that go beyond them, single ones, extremes."""
    kind = rng.random()
    if kind < 0.5:
        return np.asarray(linear @ _mixture(rng, (0.7, 1.5, 4.0)), np.float32)
    if kind < 0.78:
        weights = _mixture(rng, (0.8, 1.2, 2.5))
        beyond = weights + rng.uniform(0.1, 1.2) * (weights - _mixture(rng, (1.5, 2.0, 1.0)))
        return np.asarray(linear @ beyond.astype(np.float32), np.float32)
    if kind < 0.9:
        return np.ascontiguousarray(linear[:, :, int(rng.choice(3, p=(0.25, 0.25, 0.5)))])
    if kind < 0.94:
        return np.asarray(linear.max(axis=2), np.float32)
    if kind < 0.97:
        return np.asarray(linear.min(axis=2), np.float32)
    return np.asarray(np.exp(np.log(linear + np.float32(0.01)).mean(axis=2)) - 0.01, np.float32)


def _mixture(rng: np.random.Generator, spread: tuple[float, float, float]) -> Floats:
    return rng.dirichlet(spread).astype(np.float32)


def _decomposed(
    linear: Floats, grey: Floats, face: Floats, rng: np.random.Generator, use: frozenset[Ingredient]
) -> Floats:
    """Wide shading and narrow detail, each with a contrast of its own; lips and hair changed."""
    side = len(grey)
    logs = np.log(grey + np.float32(rng.uniform(DARKEST, 0.02)))
    middle = _middle(logs, face)
    sigma = float(rng.uniform(0.07, 0.3)) * side
    weight = face + np.float32(0.05)
    wide = cv2.GaussianBlur(logs * weight, (0, 0), sigma) / cv2.GaussianBlur(weight, (0, 0), sigma)
    detail, slow = logs - wide, wide - middle
    if Ingredient.SHADING in use:
        kind = rng.random()
        low, high = (0.05, 0.7) if kind < 0.6 else (0.7, 1.5) if kind < 0.9 else (-0.4, 0.05)
        slow = slow * np.float32(rng.uniform(low, high))
    else:
        slow = slow * np.float32(0.3)
    if Ingredient.ALBEDO in use:
        detail = _albedo(linear, detail, face, rng)
    else:
        detail = detail * (1.0 - np.float32(0.5) * face)
    return np.asarray(np.exp(np.clip(middle + slow + detail, -7.0, 2.5)), np.float32)


def _albedo(linear: Floats, detail: Floats, face: Floats, rng: np.random.Generator) -> Floats:
    """Contrast of the skin compressed or kept, redness lifted, dark hair and brows lightened or not."""
    detail = detail * (1.0 - face * np.float32(1.0 - rng.uniform(0.3, 1.2)))
    if rng.random() < 0.6:
        ratio = np.log((linear[:, :, 2] + 0.01) / (linear[:, :, 1] + 0.01))
        ratio = np.clip(ratio - _middle(ratio, face), 0.0, 1.0)
        detail = detail + np.float32(rng.uniform(0.0, 0.8)) * ratio * face
    if rng.random() < 0.6:
        power = np.float32(rng.uniform(0.35, 1.15))
        edge = np.float32(rng.uniform(-0.6, -0.1))
        detail = np.where(detail < edge, edge + (detail - edge) * power, detail)
    return np.asarray(detail, np.float32)


def _middle(values: Floats, face: Floats) -> np.float32:
    """The median on the face, on a coarse grid; of the whole picture where no face was fitted."""
    inside = values[::3, ::3][face[::3, ::3] > 0.6]
    return np.float32(np.median(inside if inside.size > 30 else values[::3, ::3]))


def _level(light: Floats, face: Floats) -> Floats:
    return np.asarray(light * (np.float32(0.5) / max(_middle(light, face), np.float32(DARKEST))), np.float32)


def fabric(rng: np.random.Generator, use: frozenset[Ingredient]) -> float:
    """A mask's brightness against the skin's at 850 nm: most fabrics are bright, some stay dark."""
    kind = rng.random()
    if Ingredient.FABRIC not in use:
        return float(rng.uniform(1.1, 1.7))
    low, high = (1.0, 1.9) if kind < 0.5 else (0.1, 0.7) if kind < 0.8 else (0.5, 1.2)
    return float(rng.uniform(low, high))
