"""Raw frames as IR cameras and network recorders give them: pixels without a header.

A caller declares the format and the size, because the bytes say neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.formats import UndecodableImage, UnsupportedMediaType

# Significant bits of each grey format; more than 8 lie in 16-bit little-endian words, from bit 0 up.
GREY_BITS = {"GREY": 8, "Y8": 8, "Y10": 10, "Y12": 12, "Y16": 16}
FORMATS = (*GREY_BITS, "NV12")
# Hot pixels may stand above the declared bits; a share of more than this is another format.
MAX_OVERFLOW_SHARE = 1e-4


class InvalidFrame(UndecodableImage):
    """The declaration of a frame is incomplete or contradicts itself."""


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """The declared layout of a frame; `stride` is the distance of its rows in bytes.

    Raises InvalidFrame for sizes that cannot be, UnsupportedMediaType for an unknown format.
    """

    format: str
    width: int
    height: int
    stride: int

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UnsupportedMediaType(f"a raw frame's format is one of {', '.join(FORMATS)}")
        if self.width < 1 or self.height < 1:
            raise InvalidFrame("a raw frame's width and height are at least 1 pixel")
        if self.format == "NV12" and (self.width % 2 or self.height % 2):
            raise InvalidFrame("an NV12 frame has an even width and an even height")
        if self.stride < self.width * self.sample_bytes or self.stride % self.sample_bytes:
            raise InvalidFrame(
                f"the stride of {self.width} {self.format} pixels is at least"
                f" {self.width * self.sample_bytes} bytes, and whole samples"
            )

    @classmethod
    def parse(cls, declared: Mapping[str, str]) -> FrameFormat:
        """Reads the parameters `format`, `width`, `height` and optionally `stride`.

        Raises InvalidFrame for missing, unknown or non-numeric ones, and what the class raises.
        """
        if unknown := sorted(set(declared) - {"format", "width", "height", "stride"}):
            raise InvalidFrame(f"a raw frame has no parameter `{unknown[0][:40]}`")
        if missing := [name for name in ("format", "width", "height") if name not in declared]:
            raise InvalidFrame(f"a raw frame must declare its `{missing[0]}`")
        # V4L2 pads its names with spaces to four characters.
        name, sizes = declared["format"].strip().upper(), dict[str, int]()
        for key in ("width", "height", "stride"):
            text = declared.get(key, "0")
            if not (text.isascii() and text.isdigit() and len(text) <= 9):
                raise InvalidFrame(f"a raw frame's `{key}` is a whole number")
            sizes[key] = int(text)
        packed = sizes["width"] * (2 if GREY_BITS.get(name, 8) > 8 else 1)
        return cls(name, sizes["width"], sizes["height"], sizes["stride"] if "stride" in declared else packed)

    @property
    def sample_bytes(self) -> int:
        return 2 if GREY_BITS.get(self.format, 8) > 8 else 1

    @property
    def rows(self) -> int:
        """Rows of `stride` bytes: NV12 has half as many rows of colour below those of light."""
        return self.height * 3 // 2 if self.format == "NV12" else self.height


@dataclass(frozen=True, slots=True)
class RawFrame:
    """The bytes of one frame and their declared layout."""

    layout: FrameFormat
    data: bytes


# What a request may send as one image: a file with a header, or a raw frame.
ImageSource: TypeAlias = bytes | RawFrame


def digest(source: ImageSource) -> str:
    """Returns the SHA-256 of an image's bytes in hexadecimal; a frame's layout belongs to its bytes."""
    if isinstance(source, RawFrame):
        return hashlib.sha256(repr(source.layout).encode() + b"\x00" + source.data).hexdigest()
    return hashlib.sha256(source).hexdigest()


def read_frame(frame: RawFrame) -> tuple[NDArray[np.uint8 | np.uint16], int | None]:
    """Returns the pixels as stored and their declared bits, None where the pixels must tell.

    Grey formats give [h, w], uint8 or uint16; NV12 gives uint8 BGR [h, w, 3] (BT.601, video range).
    A Y16 frame does not say how many of its 16 bits the camera fills.
    Raises UndecodableImage unless the bytes are exactly those of the declared layout.
    """
    layout, data = frame.layout, frame.data
    wanted = layout.rows * layout.stride
    if len(data) != wanted:
        raise UndecodableImage(
            f"a {layout.format} frame of {layout.width} x {layout.height} pixels with a stride of"
            f" {layout.stride} bytes has {wanted} bytes, got {len(data)}"
        )
    dtype = "<u2" if layout.sample_bytes == 2 else "u1"
    grid = np.frombuffer(data, dtype).reshape(layout.rows, -1)[:, : layout.width]
    if layout.format == "NV12":
        colours = cv2.cvtColor(np.ascontiguousarray(grid), cv2.COLOR_YUV2BGR_NV12)
        return np.asarray(colours, np.uint8), 8
    bits = GREY_BITS[layout.format]
    if bits == 8:
        return np.array(grid, np.uint8), bits
    if bits == 16:
        return np.array(grid, np.uint16), None
    if np.mean(grid >= 1 << bits) > MAX_OVERFLOW_SHARE:
        raise UndecodableImage(f"the frame holds values of more than {bits} bits: it is no {layout.format}")
    return np.array(grid, np.uint16), bits
