"""Draws letters, balls and patches, which a small detector takes for faces, where there is no face."""

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
        what = (_letters, _ball, _patch)[int(rng.choice(3, p=(0.5, 0.25, 0.25)))]
        what(canvas, size, rng)
    view[:] = canvas


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
