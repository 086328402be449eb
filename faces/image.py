"""Decodes bytes to an upright Image of 8 bits per channel; checks format and size before it decodes.

Formats: JPEG, PNG, BMP, WebP, TIFF, recognised by their first bytes. Alpha is dropped, animations and
multi-page files are refused, and of a multi-picture JPEG the first picture is used.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from faces.types import Image, Pixels, Spectrum

SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
}
EXIF_ORIENTATION = 0x0112
MAX_SIDE_PX = 65_000
# The end of a complete file; cameras may pad a few bytes after it.
JPEG_END, PNG_END, TAIL_BYTES = b"\xff\xd9", b"IEND\xaeB\x60\x82", 32
# Sixteen-bit cameras use 10, 12 or 14 bits; a few hot pixels must not decide how many.
DEPTH_PERCENTILE = 99.99
# The spectrum is recognised on a picture of this size.
GLANCE_PX = 64
DARKEST, MAX_TINT_SPREAD = 12.0, 0.010

# This module checks the caller's limits before it decodes any pixel.
PIL.Image.MAX_IMAGE_PIXELS = None


class ImageError(Exception):
    """The bytes are not an acceptable image. The text may be shown to the sender."""


class ImageTooLarge(ImageError):
    """The image has more bytes or pixels than allowed, according to its header."""


class UnsupportedMediaType(ImageError):
    """The format is not on the allow-list."""


class UndecodableImage(ImageError):
    """The format is allowed, but the file is broken, truncated, animated or of an unusual kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """`max_bytes` of the file and `max_pixels` (width x height) of the picture."""

    max_bytes: int
    max_pixels: int


@dataclass(frozen=True, slots=True)
class Header:
    """Format and size according to the header."""

    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Layout:
    """EXIF's `orientation`, 1 to 8, and the number of `frames`."""

    orientation: int
    frames: int


def sniff(data: bytes) -> str:
    """Recognises the format by the first bytes. Raises UnsupportedMediaType if it is not allowed."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for signature, name in SIGNATURES.items():
        if data.startswith(signature):
            return name
    raise UnsupportedMediaType("not a JPEG, PNG, BMP, WebP or TIFF image")


def read_header(data: bytes) -> Header:
    """Reads format and size, which costs no more than the first bytes.

    Raises UnsupportedMediaType, UndecodableImage.
    """
    kind = sniff(data)
    try:
        with PIL.Image.open(io.BytesIO(data), formats=[kind]) as picture:
            width, height = picture.size
    except Exception as error:
        raise UndecodableImage(f"the {kind} header is broken") from error
    return Header(kind, width, height)


def read_layout(data: bytes, kind: str) -> Layout:
    """Reads orientation and frames. Check sizes first: it may decode the file (EXIF may follow a PNG's
    pixels).

    Raises UndecodableImage.
    """
    try:
        with PIL.Image.open(io.BytesIO(data), formats=[kind]) as picture:
            # A multi-picture JPEG is several photos; every other kind of frames is an animation.
            frames = 1 if kind == "JPEG" else getattr(picture, "n_frames", 1)
            orientation = picture.getexif().get(EXIF_ORIENTATION, 1)
    except Exception as error:
        raise UndecodableImage(f"the {kind} is truncated or broken") from error
    if not isinstance(orientation, int) or not 1 <= orientation <= 8:
        orientation = 1
    return Layout(orientation, frames)


def decode(data: bytes, *, limits: DecodeLimits, spectrum: Spectrum | None = None) -> Image:
    """Decodes bytes to an upright uint8 BGR Image; grey becomes three equal channels.

    If `spectrum` is None, it is recognised from the pixels. Sixteen bits are reduced to eight by a right
    shift from the smallest depth of 8 to 16 bits that holds the 99.99th percentile.
    Raises ImageTooLarge, UnsupportedMediaType, UndecodableImage.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"an image may have {limits.max_bytes} bytes at most")
    header = read_header(data)
    if header.width * header.height > limits.max_pixels:
        raise ImageTooLarge(
            f"{header.width} x {header.height} pixels, at most {limits.max_pixels} are allowed"
        )
    if max(header.width, header.height) > MAX_SIDE_PX:
        raise ImageTooLarge(f"a side may have {MAX_SIDE_PX} pixels at most")
    layout = read_layout(data, header.format)
    if layout.frames > 1:
        raise UndecodableImage(f"the {header.format} holds {layout.frames} frames: send one")
    # OpenCV always applies the orientation of a TIFF, and here of no other format.
    orientation = 1 if header.format == "TIFF" else layout.orientation
    pixels = upright(to_eight_bits(_pixels(data, header)), orientation)
    return Image(pixels, spectrum or recognise_spectrum(pixels))


def _pixels(data: bytes, header: Header) -> NDArray[np.uint8 | np.uint16]:
    """Returns [h, w, 3] as stored, not turned.

    OpenCV fills missing data silently, so Pillow, which refuses truncated data, first reads a file without
    a proper end.
    """
    if not _looks_whole(data, header.format):
        try:
            with PIL.Image.open(io.BytesIO(data), formats=[header.format]) as picture:
                picture.load()
        except Exception as error:
            raise UndecodableImage(f"the {header.format} is truncated or broken") from error
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise UndecodableImage(f"the {header.format} cannot be decoded") from error
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise UndecodableImage(f"the {header.format} cannot be decoded")
    decoded: NDArray[np.uint8 | np.uint16] = np.asarray(pixels)
    return decoded


def _looks_whole(data: bytes, kind: str) -> bool:
    if kind == "JPEG":
        return data.rstrip(b"\x00")[-TAIL_BYTES:].rfind(JPEG_END) >= 0
    if kind == "PNG":
        return PNG_END in data[-TAIL_BYTES:]
    if kind == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 <= len(data)
    return False


def to_eight_bits(pixels: NDArray[np.uint8 | np.uint16]) -> Pixels:
    """Shifts uint16 to uint8 (see `decode`); uint8 stays as it is."""
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels, np.uint8)
    brightest = int(np.percentile(pixels, DEPTH_PERCENTILE))
    shift = min(8, max(0, brightest.bit_length() - 8))
    eight: Pixels = np.minimum(pixels >> shift, 255).astype(np.uint8)
    return eight


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Applies EXIF orientation 1 to 8 (EXIF 2.32, tag 274)."""
    turned: Pixels = pixels
    if orientation in (5, 6, 7, 8):
        turned = turned.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    return np.ascontiguousarray(turned)


def recognise_spectrum(pixels: Pixels) -> Spectrum:
    """Returns NIR for a grey picture or one uniform tint (IR cameras without a cut filter), else VIS.

    A black-and-white photograph looks the same and counts as NIR; a caller who knows better passes the
    spectrum to `decode`.
    """
    small = cv2.resize(pixels, (GLANCE_PX, GLANCE_PX), interpolation=cv2.INTER_AREA)
    values = np.asarray(small, np.float32).reshape(-1, 3)
    bright = values[values.mean(axis=1) >= DARKEST]
    if len(bright) < GLANCE_PX:
        return Spectrum.NIR if np.ptp(values, axis=1).max(initial=0) <= DARKEST else Spectrum.VIS
    shares = bright / bright.sum(axis=1, keepdims=True)
    spread = float(shares.std(axis=0).max())
    return Spectrum.NIR if spread <= MAX_TINT_SPREAD else Spectrum.VIS
