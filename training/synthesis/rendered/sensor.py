"""Makes 8-bit pixels of linear light: background, exposure, lens blur, noise, tone curve."""

from __future__ import annotations

import cv2
import numpy as np

from faces.types import Pixels, Spectrum
from training.synthesis.rendered.model import Floats
from training.synthesis.rendered.spec import ViewSpec

KNEE = 0.72
NIR_WHITE = 0.62
VIS_GREY = 0.25


def background(view: ViewSpec, side: int, rng: np.random.Generator) -> Floats:
    """Draws linear light [side, side, 3] behind the subject: a blurred room, or a dim wall."""
    ys, xs = np.mgrid[0:side, 0:side].astype(np.float32) / side
    if view.spectrum is Spectrum.NIR:
        level = float(rng.uniform(0.008, 0.03))
        dim = np.exp(-2.2 * ((xs - 0.5) ** 2 + (ys - 0.45) ** 2))
        return np.repeat((level * dim)[..., None], 3, axis=2).astype(np.float32)
    base = rng.uniform(0.10, 0.55) * (1 + rng.uniform(-0.12, 0.12, 3))
    scene = np.ones((side, side, 3), np.float32) * base.astype(np.float32)
    scene *= (1.0 + rng.uniform(-0.35, 0.35) * (xs - 0.5) + rng.uniform(-0.4, 0.4) * (ys - 0.5))[..., None]
    for _ in range(int(rng.integers(2, 8))):
        x, y = rng.uniform(-0.2, 1.0, 2)
        w, h = rng.uniform(0.08, 0.5, 2)
        tone = rng.uniform(0.4, 1.5) * (1 + rng.uniform(-0.2, 0.2, 3))
        inside = (xs > x) & (xs < x + w) & (ys > y) & (ys < y + h)
        scene[inside] *= tone.astype(np.float32)
    blurred: Floats = cv2.GaussianBlur(scene, (0, 0), side * float(rng.uniform(0.015, 0.05)))
    return blurred.astype(np.float32)


def exposure(light: Floats, skin: Floats, *, spectrum: Spectrum) -> float:
    """Returns the gain for a picture [h, w, 3]; `skin` [n, 3] are the face's pixels, mask included.

    An NIR camera meters the brightest pixels, so a bright mask darkens the face. In visible light the
    gain goes about half of the way to mid-grey, so dark skin stays darker than pale skin.
    """
    metered = skin if len(skin) else light.reshape(-1, 3)
    if spectrum is Spectrum.NIR:
        return NIR_WHITE / max(float(np.percentile(metered[:, 0], 93)), 1e-3)
    return float((VIS_GREY / max(float(metered.mean()), 1e-3)) ** 0.55)


def develop(light: Floats, view: ViewSpec, rng: np.random.Generator) -> Pixels:
    """Develops exposed linear light [s, s, 3] (red, green, blue) to uint8 [size, size, 3] BGR."""
    size = view.size_px
    small = cv2.resize(light, (size, size), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), view.blur_px)
    small = np.maximum(small, 0.0)
    grain = rng.normal(size=small.shape).astype(np.float32)
    if view.spectrum is Spectrum.NIR:
        grain = np.repeat(grain[..., :1], 3, axis=2)
    small += grain * view.noise * np.sqrt(0.02 + small) * 0.8
    over = np.maximum(small - KNEE, 0.0) / (1.0 - KNEE)
    small = np.minimum(small, KNEE) + (1.0 - KNEE) * np.tanh(over)
    small = np.clip(small, 0.0, 1.0)
    tone = np.where(small <= 0.0031308, 12.92 * small, 1.055 * small ** (1 / 2.4) - 0.055)
    pixels = np.round(tone[..., ::-1] * 255.0).astype(np.uint8)
    return np.ascontiguousarray(pixels)
