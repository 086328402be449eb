"""Simulates random near-infrared cameras: from a clean sensor to a cheap one with a bad lens and codec."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.types import Pixels

Floats = NDArray[np.float32]

# Share of ordinary cameras.
MILD_SHARE = 0.3


def plain_camera(light: Floats, rng: np.random.Generator) -> Pixels:
    """One ordinary camera: linear light [s, s] -> uint8 [s, s, 3] with equal channels."""
    lit = light * np.float32(rng.uniform(0.5, 0.85) / max(float(np.percentile(light[::2, ::2], 95)), 1e-3))
    lit = lit + rng.standard_normal(lit.shape, np.float32) * np.float32(rng.uniform(0.002, 0.015))
    lit = np.asarray(cv2.GaussianBlur(lit, (0, 0), float(rng.uniform(0.3, 0.8))), np.float32)
    grey = (np.clip(lit, 0.0, 1.0) ** (1 / 2.2) * 255.0 + 0.5).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def any_camera(light: Floats, rng: np.random.Generator) -> Pixels:
    """Linear light [s, s] -> uint8 [s, s, 3]: exposure, optics, sensor, tone, codec, each by chance."""
    if rng.random() < MILD_SHARE:
        return plain_camera(light, rng)
    lit = _sensed(_optics(_exposed(light, rng), rng), rng)
    grey = _toned(lit, rng)
    grey = _processed(grey, rng)
    if rng.random() < 0.4:
        grey = _recompressed(grey, int(rng.integers(20, 96)))
    if rng.random() < 0.04:
        _stamp(grey, rng)
    return _coloured(grey, rng)


def _exposed(light: Floats, rng: np.random.Generator) -> Floats:
    """Gain by a percentile: from dark to burnt out; and blacks that are lifted or cut."""
    percentile = float(rng.uniform(60, 99))
    level = float(rng.uniform(0.3, 1.0))
    lit = light * np.float32(level / max(float(np.percentile(light[::2, ::2], percentile)), 1e-3))
    if rng.random() < 0.35:
        black = np.float32(rng.uniform(-0.1, 0.12))
        lit = (lit - black) / (1.0 - black)
    return np.asarray(lit, np.float32)


def _optics(lit: Floats, rng: np.random.Generator) -> Floats:
    if rng.random() < 0.15:
        length = int(rng.integers(3, 8))
        kernel = np.zeros((length, length), np.float32)
        turn = rng.uniform(0, np.pi)
        reach = (length - 1) / 2
        dx, dy = reach * np.cos(turn), reach * np.sin(turn)
        one, two = (round(reach - dx), round(reach - dy)), (round(reach + dx), round(reach + dy))
        cv2.line(kernel, one, two, (1.0,), 1)
        lit = np.asarray(cv2.filter2D(lit, -1, kernel / kernel.sum()), np.float32)
    if rng.random() < 0.25:
        side = len(lit)
        small = max(24, round(side * float(rng.uniform(0.3, 0.9))))
        how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST)[int(rng.choice(3, p=(0.6, 0.3, 0.1)))]
        reduced = cv2.resize(lit, (small, small), interpolation=cv2.INTER_AREA)
        lit = np.asarray(cv2.resize(reduced, (side, side), interpolation=how), np.float32)
    if rng.random() < 0.6:
        lit = np.asarray(cv2.GaussianBlur(lit, (0, 0), float(rng.uniform(0.3, 1.5))), np.float32)
    return lit


def _sensed(lit: Floats, rng: np.random.Generator) -> Floats:
    side = len(lit)
    if rng.random() < 0.75:
        electrons = float(np.exp(rng.uniform(np.log(60.0), np.log(8000.0))))
        read = float(np.exp(rng.uniform(np.log(0.001), np.log(0.04))))
        deviation = np.sqrt(np.maximum(lit, 0.0) / np.float32(electrons) + np.float32(read**2))
        noise = rng.standard_normal(lit.shape, np.float32)
        if rng.random() < 0.3:
            noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), 0.8), np.float32) * 2.0
        lit = lit + noise * deviation
    if rng.random() < 0.08:
        rows = np.arange(side, dtype=np.float32)
        wave = np.sin(rows * np.float32(rng.uniform(0.05, 0.8)) + np.float32(rng.uniform(0, 6.3)))
        lit = lit * (1.0 + np.float32(rng.uniform(0.03, 0.2)) * wave)[:, None]
    if rng.random() < 0.08:
        stripes = rng.standard_normal(side).astype(np.float32) * np.float32(rng.uniform(0.005, 0.04))
        lit = lit + (stripes[:, None] if rng.random() < 0.5 else stripes[None, :])
    if rng.random() < 0.06:
        lit = lit.copy()
        lit[1::2] = np.roll(lit[1::2], int(rng.integers(-3, 4)), axis=1)
    return np.asarray(lit, np.float32)


def _toned(lit: Floats, rng: np.random.Generator) -> Pixels:
    gamma = float(rng.uniform(1.0, 2.8))
    toned = np.clip(lit, 0.0, 1.0) ** np.float32(1.0 / gamma)
    if rng.random() < 0.2:
        bend = float(rng.uniform(0.2, 1.0))
        toned = toned + np.float32(bend) * toned * (1.0 - toned) * (2.0 * toned - 1.0)
    if rng.random() < 0.1:
        steps = float(2 ** int(rng.integers(4, 7)) - 1)
        toned = np.round(toned * np.float32(steps)) / np.float32(steps)
    return np.asarray(np.clip(toned, 0.0, 1.0) * 255.0 + 0.5, np.uint8)


def _processed(grey: Pixels, rng: np.random.Generator) -> Pixels:
    """What a camera's own processing does: local contrast, sharpening, noise removal."""
    kind = rng.random()
    if kind < 0.1:
        clahe = cv2.createCLAHE(float(rng.uniform(1.0, 4.0)), (int(rng.integers(2, 6)),) * 2)
        return np.asarray(clahe.apply(grey), np.uint8)
    if kind < 0.25:
        soft = cv2.GaussianBlur(grey, (0, 0), float(rng.uniform(0.8, 2.0)))
        amount = float(rng.uniform(0.3, 1.8))
        return np.asarray(cv2.addWeighted(grey, 1.0 + amount, soft, -amount, 0.0), np.uint8)
    if kind < 0.31:
        return np.asarray(cv2.medianBlur(grey, 3), np.uint8)
    return grey


def _recompressed(grey: Pixels, quality: int) -> Pixels:
    done, buffer = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("OpenCV could not write a JPEG")
    return np.asarray(cv2.imdecode(buffer, cv2.IMREAD_GRAYSCALE), np.uint8)


def _stamp(grey: Pixels, rng: np.random.Generator) -> None:
    text = f"{int(rng.integers(10, 32))}-{int(rng.integers(1, 13)):02d} {int(rng.integers(24)):02d}:00"
    at = (int(rng.integers(0, 40)), int(rng.choice((10, len(grey) - 4))))
    cv2.putText(grey, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.3, (int(rng.integers(0, 256)),), 1)


def _coloured(grey: Pixels, rng: np.random.Generator) -> Pixels:
    """Equal channels; now and then the tint of a colour sensor behind a filter."""
    made = np.repeat(grey[:, :, None], 3, axis=2)
    if rng.random() < 0.1:
        gains = 1.0 + rng.uniform(-0.25, 0.25, 3)
        made = np.clip(made * gains.astype(np.float32), 0, 255).astype(np.uint8)
    return made
