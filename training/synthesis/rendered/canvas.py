"""Paints one channel of a face, in the plane of the neutral model seen from the front."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthesis.rendered.model import Floats

SCALE = 50.0
LEFT, TOP, WIDTH, HEIGHT = -8.0, 15.0, 16.0, 25.0
SUBPIXEL_BITS = 4


def _pixels(points: NDArray[np.floating]) -> NDArray[np.int32]:
    at = np.stack([(points[..., 0] - LEFT) * SCALE, (TOP - points[..., 1]) * SCALE], axis=-1)
    result: NDArray[np.int32] = np.round(at * 2**SUBPIXEL_BITS).astype(np.int32)
    return result


class Canvas:
    """One painted channel, float32 [h, w]."""

    def __init__(self) -> None:
        self.values: Floats = np.zeros((int(HEIGHT * SCALE), int(WIDTH * SCALE)), np.float32)

    def line(self, points: NDArray[np.floating], value: float, width_cm: float) -> None:
        layer = np.zeros(self.values.shape, np.uint8)
        width = max(1, round(width_cm * SCALE))
        cv2.polylines(layer, [_pixels(points)], False, 255, width, cv2.LINE_AA, shift=SUBPIXEL_BITS)
        self.values += layer.astype(np.float32) * (value / 255.0)

    def fill(self, points: NDArray[np.floating], value: float, blur_cm: float) -> None:
        layer = np.zeros(self.values.shape, np.uint8)
        cv2.fillPoly(layer, [_pixels(points)], 255, cv2.LINE_AA, shift=SUBPIXEL_BITS)
        soft = cv2.GaussianBlur(layer.astype(np.float32), (0, 0), blur_cm * SCALE)
        self.values += soft * (value / 255.0)

    def spot(self, x: float, y: float, value: float, radius: tuple[float, float]) -> None:
        ys, xs = np.ogrid[: self.values.shape[0], : self.values.shape[1]]
        dx = (xs / SCALE + LEFT - x) / radius[0]
        dy = (TOP - ys / SCALE - y) / radius[1]
        self.values += (value * np.exp(-0.5 * (dx * dx + dy * dy))).astype(np.float32)

    def strokes(
        self,
        starts: NDArray[np.floating],
        ends: NDArray[np.floating],
        width_px: int,
        shades: NDArray[np.floating],
    ) -> None:
        """Draws short hairs from [n, 2] to [n, 2] with `shades` [n] in [0, 1]; the darkest wins."""
        layer = np.zeros(self.values.shape, np.uint8)
        both = np.stack([_pixels(starts), _pixels(ends)], axis=1)
        for pair, shade in zip(both, shades, strict=True):
            cv2.line(
                layer,
                (int(pair[0, 0]), int(pair[0, 1])),
                (int(pair[1, 0]), int(pair[1, 1])),
                int(255 * shade),
                width_px,
                cv2.LINE_AA,
                shift=SUBPIXEL_BITS,
            )
        self.values = np.maximum(self.values, layer.astype(np.float32) / 255.0)


def curve(points: Floats, count: int) -> Floats:
    """Returns a smooth curve [count, 2] through a few points, in any order along x."""
    along = np.linspace(0.0, 1.0, len(points))
    at = np.linspace(0.0, 1.0, count)
    degree = min(3, len(points) - 1)
    fits = [np.polyval(np.polyfit(along, points[:, k], degree), at) for k in range(2)]
    result: Floats = np.stack(fits, axis=1).astype(np.float32)
    return result
