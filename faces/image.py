"""Bytes -> Image: an allow-list of formats, caps read before decoding, upright, 8 bits a channel.

Decided here: alpha is dropped; animations and multi-page files are refused; of a multi-picture JPEG
the first picture counts, of a HEIF the primary one. `faces.formats` lists the formats.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from faces import heif, jpeg
from faces.formats import (
    Header,
    ImageTooCostly,
    ImageTooLarge,
    UndecodableImage,
    read_header,
    read_layout,
)
from faces.frames import ImageSource, RawFrame, read_frame
from faces.reduction import JPEG_FLAGS, factor_for, shrink
from faces.types import Image, Pixels, Spectrum

MAX_SIDE_PX = 65_000
# The tail of a whole file; cameras pad a few bytes behind it.
JPEG_END, PNG_END, TAIL_BYTES = b"\xff\xd9", b"IEND\xaeB\x60\x82", 32
# Sixteen-bit cameras fill 10, 12 or 14 bits; a few hot pixels must not decide which.
DEPTH_PERCENTILE = 99.99
# Recognition of the spectrum, on a picture this small.
GLANCE_PX = 64
DARKEST, MAX_TINT_SPREAD = 12.0, 0.010
# OpenCV's code for memory that the system refused (cv::Error::StsNoMem).
NO_MEMORY = -4
# Of 512 colour photos of faces 95 % spread further than .030; of 512 made NIR faces with noise and tints in
# every channel none further than .019.
CLEARLY_COLOUR = 0.025


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """`max_bytes` of the file and `max_pixels` (width x height) of the picture.

    `work_pixels`: a larger picture is held at 1/2, 1/4, ... of its size; None never reduces.
    """

    max_bytes: int
    max_pixels: int
    work_pixels: int | None = None


# Told the pixels that a picture is about to decode to, before it does.
OnSize = Callable[[int], None]


def decode(
    source: ImageSource,
    *,
    limits: DecodeLimits,
    spectrum: Spectrum | None = None,
    on_size: OnSize = lambda _pixels: None,
) -> Image:
    """Bytes or a raw frame -> upright uint8 BGR Image; grey becomes three equal channels.

    `spectrum` None recognises it from the pixels. Sixteen bits are brought to eight by a right
    shift from the smallest depth of 8 to 16 bits that holds the 99.99th percentile; a raw frame of a
    declared depth is shifted from that.
    Raises ImageTooLarge, ImageTooCostly, UnsupportedMediaType, UndecodableImage, MemoryError.
    """
    if isinstance(source, RawFrame):
        pixels, given = _of_frame(source, limits, on_size)
    else:
        pixels, given = _of_file(source, limits, on_size)
    reduced = None if pixels.shape[1::-1] == given else given
    return Image(pixels, spectrum or recognise_spectrum(pixels), reduced)


def _of_frame(frame: RawFrame, limits: DecodeLimits, on_size: OnSize) -> tuple[Pixels, tuple[int, int]]:
    width, height = frame.layout.width, frame.layout.height
    _check_caps(len(frame.data), width, height, limits)
    on_size(width * height)
    stored, bits = read_frame(frame)
    smaller = shrink(stored, width, height, factor_for(width, height, limits.work_pixels))
    eight = to_eight_bits(smaller, bits=bits)
    return (eight if eight.ndim == 3 else np.repeat(eight[:, :, None], 3, axis=2)), (width, height)


def _of_file(data: bytes, limits: DecodeLimits, on_size: OnSize) -> tuple[Pixels, tuple[int, int]]:
    _check_caps(len(data), 0, 0, limits)
    header = read_header(data)
    _check_caps(len(data), header.width, header.height, limits)
    on_size(header.width * header.height)
    if header.format == "JPEG" and jpeg.count_scans(data) > jpeg.MAX_SCANS:
        raise ImageTooCostly(
            f"a JPEG may have {jpeg.MAX_SCANS} scans at most: save the photo anew, as a baseline JPEG"
        )
    layout = read_layout(data, header.format)
    if layout.frames > 1:
        raise UndecodableImage(f"the {header.format} holds {layout.frames} frames: send one")
    # OpenCV turns a TIFF by its tag whatever it is told, and no other format.
    orientation = 1 if header.format == "TIFF" else layout.orientation
    factor = factor_for(header.width, header.height, limits.work_pixels)
    pixels = _pixels(data, header, factor)
    # The header of a HEIF or AVIF may promise more than its shown picture has.
    width, height = (header.width, header.height) if header.format == "JPEG" else pixels.shape[1::-1]
    eight = upright(to_eight_bits(shrink(pixels, width, height, factor)), orientation)
    return eight, ((height, width) if orientation >= 5 else (width, height))


def _check_caps(size: int, width: int, height: int, limits: DecodeLimits) -> None:
    """Raises ImageTooLarge for more bytes, pixels or a longer side than allowed."""
    if size > limits.max_bytes:
        raise ImageTooLarge(f"an image may have {limits.max_bytes} bytes at most")
    if width * height > limits.max_pixels:
        raise ImageTooLarge(f"{width} x {height} pixels, at most {limits.max_pixels} are allowed")
    if max(width, height) > MAX_SIDE_PX:
        raise ImageTooLarge(f"a side may have {MAX_SIDE_PX} pixels at most")


def _pixels(data: bytes, header: Header, factor: int) -> NDArray[np.uint8 | np.uint16]:
    """[h, w, 3] as stored, not turned; a HEIF is turned by its decoder.

    A JPEG may come reduced, by `factor` at most. Raises UndecodableImage, MemoryError.
    """
    try:
        if header.format == "HEIF":
            return heif.read_pixels(data)
        if header.format == "AVIF":
            return _read_with_pillow(data, header.format)
        if not _looks_whole(data, header.format):
            # OpenCV fills what is missing without a word; Pillow refuses truncated data.
            _check_whole(data, header.format)
    except MemoryError:
        raise
    except Exception as error:
        raise UndecodableImage(f"the {header.format} is truncated or broken") from error
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    if header.format == "JPEG" and factor > 1:
        flags = JPEG_FLAGS[min(factor, max(JPEG_FLAGS))]
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        if error.code == NO_MEMORY:
            raise MemoryError from error
        raise UndecodableImage(f"the {header.format} cannot be decoded") from error
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise UndecodableImage(f"the {header.format} cannot be decoded")
    decoded: NDArray[np.uint8 | np.uint16] = np.asarray(pixels)
    return decoded


def _read_with_pillow(data: bytes, kind: str) -> Pixels:
    """uint8 BGR [h, w, 3] as stored. Raises Pillow's own errors."""
    with PIL.Image.open(io.BytesIO(data), formats=[kind]) as picture:
        return np.ascontiguousarray(np.asarray(picture.convert("RGB"), np.uint8)[:, :, ::-1])


def _check_whole(data: bytes, kind: str) -> None:
    """Raises Pillow's own errors for a file that ends early."""
    with PIL.Image.open(io.BytesIO(data), formats=[kind]) as picture:
        if kind == "JPEG":
            picture.draft(None, (picture.width // 8, picture.height // 8))
        picture.load()


def _looks_whole(data: bytes, kind: str) -> bool:
    if kind == "JPEG":
        return data.rstrip(b"\x00")[-TAIL_BYTES:].rfind(JPEG_END) >= 0
    if kind == "PNG":
        return PNG_END in data[-TAIL_BYTES:]
    if kind == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 <= len(data)
    return False


def to_eight_bits(pixels: NDArray[np.uint8 | np.uint16], *, bits: int | None = None) -> Pixels:
    """uint16 -> uint8 by a right shift from `bits`, or from the stated depth; uint8 passes through."""
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels, np.uint8)
    if bits is None:
        bits = int(np.percentile(pixels, DEPTH_PERCENTILE)).bit_length()
    shift = min(8, max(0, bits - 8))
    eight: Pixels = np.minimum(pixels >> shift, 255).astype(np.uint8)
    return eight


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Apply EXIF orientation 1 to 8 (EXIF 2.32, tag 274)."""
    turned: Pixels = pixels
    if orientation in (5, 6, 7, 8):
        turned = turned.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    return np.ascontiguousarray(turned)


def recognise_spectrum(pixels: Pixels) -> Spectrum:
    """NIR for a grey picture or one uniform tint (IR cameras without a cut filter), else VIS.

    A black-and-white photograph looks the same and is taken for NIR; a caller who knows better
    says so.
    """
    values = _glance(pixels)
    spread = _tint_spread(values)
    if spread is None:
        return Spectrum.NIR if np.ptp(values, axis=1).max(initial=0) <= DARKEST else Spectrum.VIS
    return Spectrum.NIR if spread <= MAX_TINT_SPREAD else Spectrum.VIS


def is_clearly_colour(pixels: Pixels) -> bool:
    """Whether a face's crop uint8 [h, w, 3] is of visible light beyond doubt: no tint, stamp or noise of an
    infrared camera colours a face as skin, lips and hair do."""
    spread = _tint_spread(_glance(pixels))
    return spread is not None and spread > CLEARLY_COLOUR


def _glance(pixels: Pixels) -> NDArray[np.float32]:
    small = cv2.resize(pixels, (GLANCE_PX, GLANCE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).reshape(-1, 3)


def _tint_spread(values: NDArray[np.float32]) -> float | None:
    """How far the shares of the channels [n, 3] differ from place to place; None where all is dark."""
    bright = values[values.mean(axis=1) >= DARKEST]
    if len(bright) < GLANCE_PX:
        return None
    shares = bright / bright.sum(axis=1, keepdims=True)
    return float(shares.std(axis=0).max())
