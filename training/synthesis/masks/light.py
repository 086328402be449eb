"""Estimates the light on the face beneath a mask: level, direction, and slow variation over the face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.types import Spectrum

Floats = NDArray[np.float32]

# Assumed reflectance of skin: a picture alone cannot separate reflectance and light.
SKIN = {Spectrum.VIS: 0.40, Spectrum.NIR: 0.55}
RIDGE = 0.5
SMOOTH_CM = 1.3


@dataclass(frozen=True, slots=True, eq=False)
class FaceLight:
    """`irradiance`: on the face, 1 where a white sheet would be white; `constant` and `slope` [3]:
    brightness = constant + slope . normal, first-order harmonics relative to the level."""

    irradiance: float
    constant: float
    slope: Floats

    def on(self, normals: Floats) -> Floats:
        """Returns the relative brightness [n] of white surfaces with these unit normals."""
        lit: Floats = np.clip(self.constant + normals @ self.slope, 0.3, 1.8)
        return lit


def skin_vertices(canonical: Floats) -> NDArray[np.bool_]:
    """Tells which mesh points show plain skin, without eyes, brows, nostrils and lips."""
    x, y = np.abs(canonical[:, 0]), canonical[:, 1]
    eyes = (y > 1.2) & (y < 4.9) & (x > 1.0) & (x < 6.4)
    mouth = (y > -6.0) & (y < -2.6) & (x < 3.3)
    nostrils = (y > -2.4) & (y < -1.0) & (x < 1.7)
    return ~(eyes | mouth | nostrils)


def fit_light(
    luminance: Floats, points: Floats, normals: Floats, skin: NDArray[np.bool_], spectrum: Spectrum
) -> FaceLight:
    """Fits the skin's brightness to the mesh's normals by least squares, twice, without outliers.

    `luminance`: [h, w]; `points`, `normals`: [468, 3].
    """
    height, width = luminance.shape
    column = np.round(points[:, 0]).astype(np.intp)
    row = np.round(points[:, 1]).astype(np.intp)
    seen = skin & (normals[:, 2] < -0.25) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    # Dark skin is not a dark room: bright pixels elsewhere bound the estimate.
    rest = luminance[::4, ::4].ravel()
    white = float(np.partition(rest, int(0.95 * (rest.size - 1)))[int(0.95 * (rest.size - 1))])
    if seen.sum() < 12:
        return FaceLight(max(white, 1e-3), 1.0, np.zeros(3, np.float32))
    value = luminance[row[seen], column[seen]].astype(np.float64)
    level = max(float(np.median(value)), 1e-4)
    value /= level
    terms = np.concatenate([np.ones((len(value), 1)), normals[seen]], axis=1)
    keep = np.abs(value - 1.0) < 1.5
    solved = np.array([1.0, 0.0, 0.0, 0.0])
    for _ in range(2):
        a, b = terms[keep], value[keep]
        solved = np.linalg.solve(a.T @ a + RIDGE * np.diag([0.0, 1, 1, 1]) * len(b) / 50, a.T @ b)
        miss = np.abs(terms @ solved - value)
        keep = miss < 2.5 * max(float(np.median(miss)), 0.02)
    irradiance = float(np.clip(level / SKIN[spectrum], 0.6 * white, max(1.0, 1.05 * white)))
    return FaceLight(irradiance, float(solved[0]), solved[1:].astype(np.float32))


def slow_shading(luminance: Floats, face: Floats, px_per_cm: float) -> Floats:
    """Returns the skin's brightness relative to its mean, blurred over a centimetre: [h, w].

    `face` is 1 on the face and 0 elsewhere, so that hair and background do not bleed in.
    """
    factor = max(1.0, SMOOTH_CM * px_per_cm / 3.0)
    size = (max(2, round(luminance.shape[1] / factor)), max(2, round(luminance.shape[0] / factor)))
    weight = cv2.resize(face, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(luminance * face, size, interpolation=cv2.INTER_AREA)
    sigma = SMOOTH_CM * px_per_cm / factor
    total = cv2.GaussianBlur(weight, (0, 0), sigma)
    level = float(small.sum() / max(float(weight.sum()), 1e-3))
    if level <= 1e-5:
        return np.ones_like(luminance)
    # Far from the face the ratio tends to 1.
    blurred = (cv2.GaussianBlur(small, (0, 0), sigma) + 0.05 * level) / ((total + 0.05) * level)
    shading = cv2.resize(blurred, (luminance.shape[1], luminance.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(shading, 0.3, 2.0), np.float32)
