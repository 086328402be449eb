"""Draws active light on a fitted face: lamps on and off axis, fall-off, cast shadows, highlights, glints."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LAMP_SHARE, SECOND_SHARE, SHADOW_SHARE, SHINE_SHARE = 0.75, 0.3, 0.2, 0.35


def lamps(normals: Floats, face: Floats, rng: np.random.Generator) -> Floats:
    """A factor [s, s] around 1 on the face. `normals` [s, s, 4], outward, z negative towards the camera."""
    side = len(face)
    lit = np.ones((side, side), np.float32)
    if rng.random() < LAMP_SHARE:
        ambient = float(rng.uniform(0.0, 0.8))
        lit = np.full((side, side), ambient, np.float32)
        for _ in range(1 + (rng.random() < SECOND_SHARE)):
            lit += np.float32(rng.uniform(0.4, 1.0)) * _lamp(normals, face, rng)
        lit /= max(float(np.median(lit[::3, ::3])), 0.05)
    lit *= _fall_off(side, rng)
    if rng.random() < SHADOW_SHARE:
        lit *= _shadow(side, rng)
    if rng.random() < SHINE_SHARE:
        lit += _shine(normals, face, rng)
    return lit


def _direction(rng: np.random.Generator, widest: float) -> Floats:
    """A unit vector towards the camera's side, `widest` radians off the axis at most."""
    angle, turn = rng.uniform(0.0, widest), rng.uniform(0.0, 2.0 * np.pi)
    x, y = np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn)
    return np.array([x, y, -np.cos(angle)], np.float32)


def _lamp(normals: Floats, face: Floats, rng: np.random.Generator) -> Floats:
    """Lambert's cosine, wrapped and to a power; what is no face gets a share of its own."""
    towards = _direction(rng, 0.3 if rng.random() < 0.45 else 1.25)
    wrap = np.float32(rng.uniform(0.0, 0.5))
    cosine = np.clip((normals[:, :, :3] @ towards + wrap) / (1.0 + wrap), 0.0, 1.0)
    cosine = np.asarray(cosine ** np.float32(rng.uniform(0.6, 1.8)), np.float32)
    behind = np.float32(rng.uniform(0.05, 1.0))
    return np.asarray(cosine * face + behind * (1.0 - face), np.float32)


def _fall_off(side: int, rng: np.random.Generator) -> Floats:
    """Inverse-square light around a point on the picture, from flat to strong."""
    along = np.linspace(-1.0, 1.0, side, dtype=np.float32)
    x, y = rng.uniform(-0.8, 0.8, 2).astype(np.float32)
    squared = (along[None, :] - x) ** 2 + (along[:, None] - y) ** 2
    factor = 1.0 / (1.0 + np.float32(rng.uniform(0.0, 0.9) ** 2) * squared)
    return np.asarray(factor / factor.mean(), np.float32)


def _shadow(side: int, rng: np.random.Generator) -> Floats:
    """One straight or curved edge, soft or hard, beyond which there is less light."""
    along = np.linspace(-1.0, 1.0, side, dtype=np.float32)
    turn = rng.uniform(0.0, 2.0 * np.pi)
    at = np.float32(np.cos(turn)) * along[None, :] + np.float32(np.sin(turn)) * along[:, None]
    across = np.float32(-np.sin(turn)) * along[None, :] + np.float32(np.cos(turn)) * along[:, None]
    at = at + np.float32(rng.uniform(-0.5, 0.5)) * across**2 - np.float32(rng.uniform(-0.3, 0.7))
    soft = np.float32(rng.uniform(0.02, 0.3))
    share = 0.5 + 0.5 * np.tanh(at / soft)
    return np.asarray(1.0 - np.float32(rng.uniform(0.2, 0.8)) * share, np.float32)


def _shine(normals: Floats, face: Floats, rng: np.random.Generator) -> Floats:
    """Blinn's highlight of damp or oily skin."""
    half = _direction(rng, 0.5)
    cosine = np.clip(normals[:, :, :3] @ half, 0.0, 1.0)
    shine = np.float32(rng.uniform(0.1, 1.2)) * cosine ** np.float32(rng.uniform(8.0, 60.0))
    return np.asarray(shine * face, np.float32)


def glints(light: Floats, eyes: Floats, rng: np.random.Generator) -> None:
    """The lamp in both corneas, in place. `eyes`: [2, 2] pixels."""
    shift = rng.uniform(-1.5, 1.5, 2)
    radius = float(rng.uniform(0.4, 1.3))
    strength = float(rng.uniform(0.3, 2.0))
    spot = np.zeros_like(light)
    for x, y in eyes:
        at = (round((x + shift[0]) * 16), round((y + shift[1]) * 16))
        cv2.circle(spot, at, round(radius * 16), (strength,), -1, cv2.LINE_AA, 4)
    light += cv2.GaussianBlur(spot, (0, 0), 0.5)
