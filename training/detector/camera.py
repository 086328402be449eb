"""Changes a scene as a camera may: exposure, colour, blur, noise, compression."""

from __future__ import annotations

from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from faces.strict import Strict
from faces.types import Pixels

Share = Annotated[float, Field(ge=0, le=1)]
MOTION_PX = 7


class CameraConfig(Strict):
    """Probabilities that a scene is grey, dark and noisy, blurred, compressed; `clipped`: that its lights
    or its shadows are lost, as in an overexposed or an underexposed frame."""

    grey: Share = 0.3
    dark: Share = 0.2
    blurred: Share = 0.15
    compressed: Share = 0.15
    clipped: Share = 0.0


def apply_camera(pixels: Pixels, config: CameraConfig, rng: np.random.Generator) -> Pixels:
    """Returns the scene, uint8 [h, w, 3], as a random camera sees it."""
    if rng.random() < config.grey:
        grey = cv2.transform(pixels, np.array([_channel_mix(rng)], np.float32))
        pixels = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)
        tint = np.ones(3)
    else:
        tint = rng.uniform(0.85, 1.15, 3)
    dark = rng.random() < config.dark
    pixels = _toned(pixels, tint, dark=dark, rng=rng)
    # Drawn only where asked for, so that the batches of the older recipes stay what they were.
    if config.clipped and rng.random() < config.clipped:
        pixels = _clipped(pixels, rng)
    if rng.random() < config.blurred:
        pixels = _blurred(pixels, rng)
    if dark or rng.random() < 0.25:
        grains = rng.standard_normal(pixels.shape[:2], np.float32) * rng.uniform(2, 14 if dark else 6)
        noise = np.asarray(grains, np.int16)
        pixels = np.asarray(cv2.add(pixels, cv2.merge([noise] * 3), dtype=cv2.CV_8U), np.uint8)
    if rng.random() < config.compressed:
        quality = int(rng.integers(25, 90))
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        pixels = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return pixels


def _channel_mix(rng: np.random.Generator) -> list[float]:
    """Returns weights of blue, green, red: luminance, or a random mixture, mostly red as in near-infrared."""
    if rng.random() < 0.5:
        return [0.114, 0.587, 0.299]
    return [float(v) for v in rng.dirichlet((0.5, 1.5, 3.0))]


def _toned(
    pixels: Pixels,
    tint: np.ndarray[tuple[int], np.dtype[np.float64]],
    *,
    dark: bool,
    rng: np.random.Generator,
) -> Pixels:
    """Applies gain, offset and gamma to each channel by one look-up table."""
    levels = np.linspace(0.0, 1.0, 256)[:, None] ** rng.uniform(0.6, 1.6)
    gain = rng.uniform(0.15, 0.5) if dark else rng.uniform(0.6, 1.3)
    offset = rng.uniform(0.0, 0.05) if dark else rng.uniform(-0.12, 0.15)
    table = np.clip((levels * gain * tint + offset) * 255.0 + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, table[None]), np.uint8)


def _clipped(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Loses the lights, by a gain or by an offset, or the shadows of a picture."""
    gain, offset = 1.0, 0.0
    match int(rng.choice(3, p=(0.4, 0.35, 0.25))):
        case 0:
            gain = float(rng.uniform(1.3, 2.6))
        case 1:
            offset = float(rng.uniform(30.0, 130.0))
        case _:
            gain, offset = float(rng.uniform(0.15, 0.6)), float(rng.uniform(-30.0, 0.0))
    levels = np.arange(256) * gain + offset
    return np.asarray(cv2.LUT(pixels, np.clip(levels, 0, 255).astype(np.uint8)), np.uint8)


def _blurred(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Blurs as a lens out of focus does, or as motion in one direction."""
    if rng.random() < 0.6:
        return np.asarray(cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.5, 1.8))), np.uint8)
    length = int(rng.integers(2, MOTION_PX + 1))
    kernel = np.zeros((MOTION_PX, MOTION_PX), np.float32)
    middle = MOTION_PX // 2
    angle = float(rng.uniform(0, np.pi))
    dx, dy = length / 2 * np.cos(angle), length / 2 * np.sin(angle)
    ends = [(round(middle - dx), round(middle - dy)), (round(middle + dx), round(middle + dy))]
    cv2.line(kernel, ends[0], ends[1], (1.0,), 1, cv2.LINE_AA)
    return np.asarray(cv2.filter2D(pixels, -1, kernel / max(float(kernel.sum()), 1e-6)), np.uint8)
