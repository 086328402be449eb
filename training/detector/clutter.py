"""Draws letters, balls, patches, emblems and cloth, which a small detector takes for faces.

They lie where there is no face.
"""

from __future__ import annotations

import cv2
import numpy as np

from faces.types import Pixels

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789&?!%@#"
FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_PLAIN,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
)
# The approximate height of a capital at scale 1, in every font.
CAPITAL_PX = 22.0
SMALLEST_PX, MOST = 8.0, 5


def draw_clutter(view: Pixels, rng: np.random.Generator) -> None:
    """Draws one to five random objects over uint8 [h, w, 3], in place."""
    canvas = np.ascontiguousarray(view)
    for _ in range(int(rng.integers(1, MOST + 1))):
        largest = 0.7 * min(canvas.shape[:2])
        size = float(np.exp(rng.uniform(np.log(SMALLEST_PX), np.log(max(largest, SMALLEST_PX + 1)))))
        what = KINDS[int(rng.choice(len(KINDS), p=SHARES))]
        what(canvas, size, rng)
    view[:] = canvas


def _emblem(canvas: Pixels, size: float, rng: np.random.Generator) -> None:
    """Draws a badge: letters, rings or a star on a disc or a shield, as on caps, shirts and cars."""
    at = _middle(canvas, rng)
    half = max(3, int(size / 2))
    if rng.random() < 0.5:
        cv2.circle(canvas, at, half, _colour(rng), -1, cv2.LINE_AA)
        cv2.circle(canvas, at, max(1, int(half * 0.85)), _colour(rng), max(1, half // 10), cv2.LINE_AA)
    else:
        corners = np.array([(-1, -1), (1, -1), (1, 0.3), (0, 1.2), (-1, 0.3)]) * half * 0.8
        cv2.fillPoly(canvas, [(corners + at).astype(np.int32)], _colour(rng), cv2.LINE_AA)
    if rng.random() < 0.5:
        angles = np.arange(10) * np.pi / 5 + float(rng.uniform(0, np.pi))
        reach = half * np.where(np.arange(10) % 2, 0.28, 0.65)
        star = np.stack([np.cos(angles) * reach, np.sin(angles) * reach], axis=1) + at
        cv2.fillPoly(canvas, [star.astype(np.int32)], _colour(rng), cv2.LINE_AA)
    else:
        text = "".join(rng.choice(list(LETTERS), int(rng.integers(1, 4))))
        thick, font = max(1, int(size * 0.06)), FONTS[int(rng.integers(len(FONTS)))]
        place = (at[0] - int(0.2 * size * len(text)), at[1] + half // 3)
        cv2.putText(canvas, text, place, font, 0.5 * size / CAPITAL_PX, _colour(rng), thick, cv2.LINE_AA)


def _cloth(canvas: Pixels, size: float, rng: np.random.Generator) -> None:
    """Repeats one small motif over a part of the picture: checks, dots or flowers on a fabric."""
    motif = np.full((max(4, int(size / 2)),) * 2 + (3,), _colour(rng), np.uint8)
    side, colour = motif.shape[0], _colour(rng)
    for _ in range(int(rng.integers(1, 4))):
        x, y = (int(v) for v in rng.integers(0, side, 2))
        if rng.random() < 0.5:
            cv2.circle(motif, (x, y), max(1, int(side * rng.uniform(0.1, 0.3))), colour, -1, cv2.LINE_AA)
        else:
            end = (int(rng.integers(side)), int(rng.integers(side)))
            cv2.line(motif, (x, y), end, _colour(rng), max(1, side // 8), cv2.LINE_AA)
    part = canvas[_span(canvas.shape[0], rng), _span(canvas.shape[1], rng)]
    rows, columns = -(-part.shape[0] // side), -(-part.shape[1] // side)
    part[:] = np.tile(motif, (rows, columns, 1))[: part.shape[0], : part.shape[1]]


def _span(length: int, rng: np.random.Generator) -> slice:
    first = int(rng.integers(0, max(1, length // 2)))
    return slice(first, first + max(1, int(rng.uniform(0.3, 0.6) * length)))


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    blue, green, red = (int(v) for v in rng.integers(0, 256, 3))
    return (blue, green, red) if rng.random() < 0.6 else (green, green, green)


def _middle(canvas: Pixels, rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(canvas.shape[1])), int(rng.integers(canvas.shape[0]))


def _letters(canvas: Pixels, size: float, rng: np.random.Generator) -> None:
    """Draws a word, sometimes with an outline of another colour, as on a shirt."""
    text = "".join(rng.choice(list(LETTERS), int(rng.integers(1, 8))))
    font, x, y = FONTS[int(rng.integers(len(FONTS)))], *_middle(canvas, rng)
    at = (x - int(rng.uniform(0, 0.5) * size * len(text)), y)
    thick = max(1, int(size * rng.uniform(0.05, 0.3)))
    if rng.random() < 0.4:
        cv2.putText(canvas, text, at, font, size / CAPITAL_PX, _colour(rng), 2 * thick, cv2.LINE_AA)
    cv2.putText(canvas, text, at, font, size / CAPITAL_PX, _colour(rng), thick, cv2.LINE_AA)


def _ball(canvas: Pixels, size: float, rng: np.random.Generator) -> None:
    """Draws an ellipse with a few smaller ones on it, like a ball, a badge or a lamp."""
    at, turn = _middle(canvas, rng), float(rng.uniform(0, 180))
    axes = (max(2, int(size / 2)), max(2, int(size / 2 * rng.uniform(0.6, 1.0))))
    cv2.ellipse(canvas, at, axes, turn, 0, 360, _colour(rng), -1, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 4))):
        x, y = (int(v) for v in rng.normal(at, size / 5))
        part = (max(1, int(axes[0] * rng.uniform(0.1, 0.6))), max(1, int(axes[1] * rng.uniform(0.1, 0.6))))
        thick = -1 if rng.random() < 0.6 else max(1, int(size / 20))
        cv2.ellipse(canvas, (x, y), part, turn, 0, 360, _colour(rng), thick, cv2.LINE_AA)


def _patch(canvas: Pixels, size: float, rng: np.random.Generator) -> None:
    """Draws coarse noise within an ellipse, like leaves or patterned cloth."""
    rows, columns = (int(v) for v in rng.integers(3, 9, 2))
    base, swing = np.array(_colour(rng), np.float64), rng.uniform(15, 90)
    noise = base + swing * rng.standard_normal((rows, columns, 1))
    side = max(4, int(size))
    large = cv2.resize(np.clip(noise, 0, 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    x, y = _middle(canvas, rng)
    x, y = min(x, canvas.shape[1] - 1), min(y, canvas.shape[0] - 1)
    part = canvas[y : y + side, x : x + side]
    seen = np.zeros((side, side), np.uint8)
    cv2.ellipse(seen, (side // 2, side // 2), (side // 2, max(2, int(side * 0.4))), 90, 0, 360, 255, -1)
    inside = seen[: part.shape[0], : part.shape[1], None] > 0
    part[:] = np.where(inside, large[: part.shape[0], : part.shape[1]], part)


# What is drawn, and how often.
KINDS = (_letters, _ball, _patch, _emblem, _cloth)
SHARES = (0.3, 0.18, 0.18, 0.17, 0.17)
