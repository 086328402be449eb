"""Frames as every source gives them, and the gate that lets only moving ones pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
# Every so many-th pixel of a row and of a column is compared: motion that matters is larger.
STEP = 8
# Below this the noise of a camera in the dark looks like motion.
CHANGED_BY = 12
QUALITY = 95


class SourceError(RuntimeError):
    """A source cannot be read now. The text holds no address and no password."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """`pixels`: uint8 [h, w] of a grey source, or [h, w, 3], blue first. `at_s`: seconds on the clock of the
    source; `seen_at`: when the camera took it, as far as the source knows. `place`: names the frame among
    those of a finite source, whenever it is read; None for a live one."""

    pixels: Pixels
    at_s: float
    seen_at: datetime
    place: str | None


class FrameReader(Protocol):
    """Opens a source and yields its frames, `fps` a second at most. `live`: they do not wait for whoever
    looks at them."""

    live: bool

    def frames(self) -> Iterator[Frame]:
        """Raises SourceError if the source ends that should not, or cannot be opened."""
        ...


class MotionGate:
    """Compares each frame with the one before, on a reduced luma. `share`: of changed pixels; 0: all pass."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._before: NDArray[np.int16] | None = None

    def moves(self, pixels: Pixels) -> bool:
        """Whether something has moved since the last call; the first frame moves."""
        reduced = pixels[::STEP, ::STEP]
        luma = (reduced if reduced.ndim == 2 else reduced[..., 1]).astype(np.int16)
        before, self._before = self._before, luma
        if before is None or before.shape != luma.shape:
            return True
        # A lamp that comes on changes every pixel alike, and nobody has come.
        changed = np.abs((luma - before) - np.int16(np.median(luma - before))) > CHANGED_BY
        return float(changed.mean()) >= self._share


def cut_out(pixels: Pixels, box: tuple[float, float, float, float], margin: float) -> Pixels:
    """The face with `margin` times its box on each side, as far as the frame reaches."""
    x, y, width, height = box
    h, w = pixels.shape[:2]
    left, right = max(0, int(x - margin * width)), min(w, int(x + (1 + margin) * width) + 1)
    top, bottom = max(0, int(y - margin * height)), min(h, int(y + (1 + margin) * height) + 1)
    return pixels[top:bottom, left:right]


def jpeg(pixels: Pixels) -> bytes:
    """The picture as JPEG."""
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise ValueError("the frame cannot be written as JPEG")
    return data.tobytes()
