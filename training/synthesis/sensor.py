"""Simulates the parts of a small monochrome camera, as pure functions of linear light [h, w]."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.types import Pixels

Floats = NDArray[np.float32]
LEAST_LIGHT = 1e-4


def squared_radius(size: tuple[int, int]) -> Floats:
    """Returns the squared distance [h, w] from the middle: 1 at the middle of an edge, 2 in a corner."""
    y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    squared: Floats = (x * x + y * y).astype(np.float32)
    return squared


def meter_highlights(light: Floats, *, level: float, percentile: float) -> Floats:
    """Scales light so that a percentile of it is `level`: a bright mask darkens the rest."""
    return np.asarray(light * (level / max(float(np.percentile(light, percentile)), LEAST_LIGHT)), np.float32)


def meter_centre(light: Floats, *, level: float, tightness: float, clipped: float) -> Floats:
    """Scales light so that its centre-weighted mean is `level`, but clips at most a share of the pixels."""
    weight = np.exp(-tightness * squared_radius((light.shape[0], light.shape[1])))
    gain = level / max(float((light * weight).sum() / weight.sum()), LEAST_LIGHT)
    brightest = max(float(np.percentile(light, 100.0 * (1.0 - clipped))), LEAST_LIGHT)
    return np.asarray(light * min(gain, 1.0 / brightest), np.float32)


def blur(light: Floats, sigma_px: float) -> Floats:
    """Applies a Gaussian point-spread function."""
    return np.asarray(cv2.GaussianBlur(light, (0, 0), sigma_px), np.float32)


def shot_and_read(light: Floats, rng: np.random.Generator, *, electrons: float, read: float) -> Floats:
    """Adds photon noise at a full well of `electrons`, and read noise of deviation `read` of full scale."""
    deviation = np.sqrt(np.maximum(light, 0.0) / electrons + read**2)
    noise = rng.standard_normal(light.shape, np.float32)
    return np.asarray(light + noise * deviation, np.float32)


def recompress(grey: Pixels, quality: int) -> Pixels:
    """Compresses uint8 [h, w] as JPEG and decodes it. Raises RuntimeError if OpenCV cannot write."""
    done, buffer = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("OpenCV could not write a JPEG")
    return np.asarray(cv2.imdecode(buffer, cv2.IMREAD_GRAYSCALE), np.uint8)


def three_channels(grey: Pixels) -> Pixels:
    """Repeats uint8 [h, w] to [h, w, 3] with equal channels."""
    return np.repeat(grey[:, :, None], 3, axis=2)
