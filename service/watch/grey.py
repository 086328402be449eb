"""Grey pixels of 8 to 16 bits as the kernel describes them, and their reduction to 8 bits.

After the kernel's documentation of the formats (userspace-api/media/v4l/pixfmt-yuv-luma.rst).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.watch.frames import Pixels

Levels = NDArray[np.uint16]
BIG_ENDIAN = 1 << 31


@dataclass(frozen=True, slots=True)
class GreyFormat:
    """`code`: of the kernel; `bits`: of a pixel; `row_bytes`: of a row of so many pixels, without padding;
    `levels`: unpacks bytes [h, row_bytes] to uint16 [h, at least width]."""

    name: str
    code: int
    bits: int
    row_bytes: Callable[[int], int]
    levels: Callable[[Pixels], Levels]

    @property
    def brightest(self) -> int:
        """The largest value that so many bits hold."""
        return (1 << self.bits) - 1


def _code(text: str) -> int:
    return int.from_bytes(text.encode("ascii"), "little")


def _bytes(rows: Pixels) -> Levels:
    return rows.astype(np.uint16)


def _little(rows: Pixels) -> Levels:
    return np.ascontiguousarray(rows).view("<u2").astype(np.uint16, copy=False)


def _big(rows: Pixels) -> Levels:
    return np.ascontiguousarray(rows).view(">u2").astype(np.uint16)


def _packed_10(rows: Pixels) -> Levels:
    """Four pixels in five bytes: the high bits of each, then the two low bits of each, the first lowest."""
    groups = rows.reshape(len(rows), -1, 5).astype(np.uint16)
    low = (groups[..., 4:] >> np.array([0, 2, 4, 6], np.uint16)) & 3
    return np.asarray((groups[..., :4] << 2) | low, np.uint16).reshape(len(rows), -1)


def _packed_12(rows: Pixels) -> Levels:
    """Two pixels in three bytes: the high bits of each, then the four low bits of each, the first lowest."""
    groups = rows.reshape(len(rows), -1, 3).astype(np.uint16)
    low = (groups[..., 2:] >> np.array([0, 4], np.uint16)) & 15
    return np.asarray((groups[..., :2] << 4) | low, np.uint16).reshape(len(rows), -1)


def _wide(width: int) -> int:
    return 2 * width


# In the order in which they are preferred: a camera that reduces its own levels to 8 bits knows them best.
FORMATS = (
    GreyFormat("GREY", _code("GREY"), 8, lambda width: width, _bytes),
    GreyFormat("Y10", _code("Y10 "), 10, _wide, _little),
    GreyFormat("Y10P", _code("Y10P"), 10, lambda width: -(-width // 4) * 5, _packed_10),
    GreyFormat("Y12", _code("Y12 "), 12, _wide, _little),
    GreyFormat("Y12P", _code("Y12P"), 12, lambda width: -(-width // 2) * 3, _packed_12),
    GreyFormat("Y14", _code("Y14 "), 14, _wide, _little),
    GreyFormat("Y16", _code("Y16 "), 16, _wide, _little),
    GreyFormat("Y16BE", _code("Y16 ") | BIG_ENDIAN, 16, _wide, _big),
)
BY_NAME = {one.name: one for one in FORMATS}


class Reduction:
    """Frames of one format and size as 8 bits. `white`: the value that becomes 255, by default the brightest
    of the format; what is brighter becomes 255 too.

    One line through zero for all frames. Stretching each frame by its own brightest pixel would make a face
    change when a lamp enters the picture: the frames of a track would differ for no reason of the face, and
    the gate for motion would open.
    """

    def __init__(self, kind: GreyFormat, width: int, height: int, white: int | None = None) -> None:
        self._kind, self._width, self._height = kind, width, height
        level = kind.brightest if white is None else white
        scaled = np.arange(1 << 16, dtype=np.float64) * (255.0 / level)
        self._table = np.rint(np.minimum(scaled, 255.0)).astype(np.uint8)
        self._plain = kind.bits == 8 and level == kind.brightest

    def smallest(self, stride: int) -> int:
        """The bytes that a whole frame has at least; the last row may lack its padding."""
        return stride * (self._height - 1) + self._kind.row_bytes(self._width)

    def pixels(self, data: Pixels, stride: int) -> Pixels:
        """uint8 [h, w], a copy. `data`: bytes of a frame, whose rows are `stride` apart."""
        row = self._kind.row_bytes(self._width)
        rows = np.lib.stride_tricks.as_strided(
            data[: self.smallest(stride)], (self._height, row), (stride, 1), writeable=False
        )
        if self._plain:
            return rows[:, : self._width].copy()
        return np.ascontiguousarray(self._table[self._kind.levels(rows)[:, : self._width]])
