"""Makes cheap synthetic views: a mask drawn over five landmarks, and pseudo-NIR without geometry.

They serve calibration and quick reports. Their scores are synthetic, and reports must say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.align import ALIGNMENTS, similarity
from faces.types import Pixels, Point

Floats = NDArray[np.float32]
Shape = Literal["wide", "round"]
Coverage = Literal["low", "medium", "high"]

GAMMA = 2.2
# Sub-pixel bits of the polygon rasteriser.
SHIFT = 4
# y of the upper edge at the nose, in the 112 px ArcFace frame (eyes 51.6, nose tip 71.7).
TOP_AT_NOSE = {"low": 74.0, "medium": 67.0, "high": 60.0}
PLEATS = (82.0, 92.0, 102.0)


@dataclass(frozen=True, slots=True)
class SimpleMask:
    """Shape and nose coverage (NISTIR 8311), and reflectance 0 to 1 of blue, green and red."""

    shape: Shape
    coverage: Coverage
    reflectance: tuple[float, float, float]


def random_mask(rng: np.random.Generator, *, nir: bool) -> SimpleMask:
    """Draws a mask: of any colour in visible light; of one grey level in NIR, because dyes fade past 750 nm.

    The NIR prior is 75 % U(.6, .95), 25 % U(.1, .35).
    """
    shape: Shape = "wide" if rng.random() < 0.5 else "round"
    coverage: Coverage = ("low", "medium", "high")[int(rng.integers(3))]
    if nir:
        low, high = (0.6, 0.95) if rng.random() < 0.75 else (0.1, 0.35)
        level = float(rng.uniform(low, high))
        return SimpleMask(shape, coverage, (level, level, level))
    blue, green, red = (float(v) for v in rng.uniform(0.05, 0.9, 3))
    return SimpleMask(shape, coverage, (blue, green, red))


def _outline(mask: SimpleMask) -> Floats:
    """Returns the mask's edge in the 112 px ArcFace frame: [n, 2]."""
    top = TOP_AT_NOSE[mask.coverage]
    wide = mask.shape == "wide"
    left, side_top, jaw_x, jaw_y, chin = (
        (13.0, 66.0, 22.0, 104.0, 123.0) if wide else (20.0, 74.0, 28.0, 106.0, 121.0)
    )
    half = [(56.0, top), (46.0, top + 2), (30.0, (top + side_top) / 2 + 1), (left, side_top)]
    half += [(left + 1, 88.0), (jaw_x, jaw_y), (40.0, chin - 3), (56.0, chin)]
    right = [(112.0 - x, y) for x, y in half[-2:0:-1]]
    return np.array(half + right, np.float32)


def mask_alpha(mask: SimpleMask, landmarks: Sequence[Point], size: tuple[int, int]) -> Floats:
    """Returns the coverage 0 to 1, [h, w], of a mask on five landmarks; the edge is soft by a pixel."""
    to_frame = similarity(landmarks, ALIGNMENTS["arcface-112"])
    to_image = cv2.invertAffineTransform(to_frame)
    points = _outline(mask) @ to_image[:, :2].T + to_image[:, 2]
    alpha = np.zeros(size, np.uint8)
    polygon = np.round(points * (1 << SHIFT)).astype(np.int32)
    cv2.fillPoly(alpha, [polygon], (255,), lineType=cv2.LINE_AA, shift=SHIFT)
    soft = cv2.GaussianBlur(alpha, (0, 0), 0.8)
    return np.asarray(soft, np.float32) / 255.0


def draw_mask(linear: Floats, mask: SimpleMask, landmarks: Sequence[Point]) -> Floats:
    """Draws a mask into linear light [h, w, 3], lit as the face beneath it, with pleats."""
    height, width = linear.shape[:2]
    alpha = mask_alpha(mask, landmarks, (height, width))[:, :, None]
    scale = max(2.0, float(np.hypot(*np.subtract(landmarks[1], landmarks[0]))) / 35.0)
    light = cv2.GaussianBlur(linear.mean(axis=2), (0, 0), 6.0 * scale)
    inside = alpha[:, :, 0] > 0.5
    level = float(light[inside].mean()) if inside.any() else 1.0
    shade = np.clip(light / max(level, 1e-4), 0.4, 1.8)
    cloth = np.array(mask.reflectance, np.float32) * (shade * _pleats(landmarks, light.shape))[:, :, None]
    masked: Floats = (linear * (1 - alpha) + cloth * alpha).astype(np.float32)
    return masked


def _pleats(landmarks: Sequence[Point], size: tuple[int, ...]) -> Floats:
    """Returns dark horizontal folds as a factor near 1, [h, w]."""
    factor = np.ones(size[:2], np.float32)
    to_image = cv2.invertAffineTransform(similarity(landmarks, ALIGNMENTS["arcface-112"]))
    for y in PLEATS:
        ends = np.array([(26.0, y - 3), (56.0, y), (86.0, y - 3)], np.float32)
        line = np.round((ends @ to_image[:, :2].T + to_image[:, 2]) * (1 << SHIFT)).astype(np.int32)
        cv2.polylines(factor, [line], False, (0.88,), 1, cv2.LINE_AA, SHIFT)
    return np.asarray(cv2.GaussianBlur(factor, (0, 0), 0.7), np.float32)


def to_linear(pixels: Pixels) -> Floats:
    """Converts uint8 [h, w, 3] to linear light from 0 to 1."""
    table = (np.arange(256, dtype=np.float32) / 255.0) ** GAMMA
    linear: Floats = table[pixels]
    return linear


def to_pixels(linear: Floats) -> Pixels:
    """Converts linear light to uint8."""
    encoded: Pixels = (np.clip(linear, 0, 1) ** (1 / GAMMA) * 255.0 + 0.5).astype(np.uint8)
    return encoded


def masked_vis(pixels: Pixels, landmarks: Sequence[Point], rng: np.random.Generator) -> Pixels:
    """Draws a random mask on a VIS photo."""
    return to_pixels(draw_mask(to_linear(pixels), random_mask(rng, nir=False), landmarks))


def pseudo_nir(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    landmarks: Sequence[Point] | None = None,
) -> Pixels:
    """Makes a pseudo-NIR picture, with three equal channels, of a VIS photo; masked if landmarks are given.

    Steps: linearise, weight towards red, divide out wide shading, compress contrast, put the mask on,
    fall-off of an on-axis light, auto-exposure, lens blur, shot and read noise.
    """
    linear = to_linear(pixels)
    red, green, blue = rng.dirichlet((17.0, 3.0, 0.4))
    light = linear @ np.array([blue, green, red], np.float32)
    height, width = light.shape
    wide = cv2.GaussianBlur(light, (0, 0), max(height, width) / 8.0)
    light = light / np.maximum(wide, 0.02) ** float(rng.uniform(0.3, 0.7))
    light = np.maximum(light, 0.0) ** float(rng.uniform(0.6, 0.9))
    light = 0.45 * light / max(float(np.percentile(light, 90)), 1e-4)
    scene: Floats = np.repeat(light[:, :, None], 3, axis=2).astype(np.float32)
    if landmarks is not None:
        scene = draw_mask(scene, random_mask(rng, nir=True), landmarks)
    exposed = _expose(scene[:, :, 0], rng)
    return np.repeat(exposed[:, :, None], 3, axis=2)


def _expose(light: NDArray[np.floating], rng: np.random.Generator) -> Pixels:
    """Develops light as a small monochrome sensor does: uint8 [h, w]."""
    height, width = light.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    falloff = 1.0 / (1.0 + float(rng.uniform(0.1, 0.6)) * (x**2 + y**2))
    lit = light * falloff
    # A bright mask reduces the exposure: the gain comes after the mask.
    lit = lit * float(rng.uniform(0.5, 0.75)) / max(float(np.percentile(lit, 95)), 1e-4)
    lit = cv2.GaussianBlur(lit, (0, 0), float(rng.uniform(0.4, 0.9)))
    electrons = float(rng.uniform(800, 4000))
    noise = rng.standard_normal(light.shape) * np.sqrt(np.maximum(lit, 0) / electrons + 2e-6)
    return to_pixels((lit + noise).astype(np.float32))
