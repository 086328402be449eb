"""Image formats: the allow-list, the format of a file by its first bytes, and what its header says."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import PIL.Image

from faces import av1, heif

SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
}
# The brands of an ISO base media file (ISO/IEC 14496-12, 4.3) whose pictures are HEVC or AV1.
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
AVIF_BRANDS = (b"avif", b"avis")
# A 64 KiB list of brands is no list of brands.
MAX_BRAND_BYTES = 1 << 10
ACCEPTED = "JPEG, PNG, BMP, WebP, TIFF, HEIC or AVIF"
# Known formats that are refused, each with the reason that its sender reads.
REFUSED = {
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "JPEG 2000 is not decoded",
    b"\xff\x4f\xff\x51": "JPEG 2000 is not decoded",
    b"GIF8": "GIF is not decoded: its 256 dithered colours hide what a matcher compares",
}
EXIF_ORIENTATION = 0x0112

# Pixel caps are checked against the caller's limits, before any pixel is decoded.
PIL.Image.MAX_IMAGE_PIXELS = None


class ImageError(Exception):
    """The bytes are no acceptable image. The text may be shown to whoever sent them."""


class ImageTooLarge(ImageError):
    """More bytes or pixels than allowed; found out from the header."""


class ImageTooCostly(ImageError):
    """Of an allowed format and size, but made so that reading it takes too much time or memory."""


class UnsupportedMediaType(ImageError):
    """No format of the allow-list."""


class UndecodableImage(ImageError):
    """Of an allowed format, but broken, truncated, animated or of an exotic kind."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the header promises; sizes in pixels."""

    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How the file is to be read: EXIF's `orientation` 1 to 8, the number of `frames`."""

    orientation: int
    frames: int


def sniff(data: bytes) -> str:
    """Returns the format that the first bytes name. Raises UnsupportedMediaType, naming the formats."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for signature, name in SIGNATURES.items():
        if data.startswith(signature):
            return name
    if data[4:8] == b"ftyp":
        brands = _brands(data)
        if any(brand in AVIF_BRANDS for brand in brands):
            return "AVIF"
        if any(brand in HEIF_BRANDS for brand in brands):
            return "HEIF"
    for signature, reason in REFUSED.items():
        if data.startswith(signature):
            raise UnsupportedMediaType(f"{reason}; send {ACCEPTED}")
    raise UnsupportedMediaType(f"not a {ACCEPTED} image")


def _brands(data: bytes) -> tuple[bytes, ...]:
    """The major brand and the compatible ones; what stands between them is a version."""
    end = min(int.from_bytes(data[:4], "big"), len(data), MAX_BRAND_BYTES)
    return (data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4)))


def read_header(data: bytes) -> Header:
    """Returns the size that is decoded, and reads no pixel.

    Raises UnsupportedMediaType, UndecodableImage.
    """
    kind = sniff(data)
    if kind == "HEIF" and not heif.is_available():
        raise UnsupportedMediaType(
            f"this service decodes no HEIC: install the extra `halflight[{heif.EXTRA}]`, or send JPEG"
        )
    try:
        if kind == "HEIF":
            width, height = heif.read_size(data)
        else:
            with PIL.Image.open(io.BytesIO(data), formats=[kind]) as picture:
                width, height = picture.size
        if kind in ("HEIF", "AVIF"):
            sizes = [(width, height), heif.largest_declared(data)]
            if kind == "AVIF":
                sizes.append(av1.largest_coded(data))
            width, height = max(sizes, key=math.prod)
    except Exception as error:
        raise UndecodableImage(f"the {kind} header is broken") from error
    return Header(kind, width, height)


def read_layout(data: bytes, kind: str) -> Layout:
    """Walks the whole file and may decode it (a PNG's EXIF can follow its pixels): sizes first.

    Raises UndecodableImage.
    """
    if kind == "HEIF":
        # Its decoder turns the picture by the container's own tags, which outrank EXIF.
        return Layout(orientation=1, frames=1)
    try:
        with PIL.Image.open(io.BytesIO(data), formats=[kind]) as picture:
            # A multi-picture JPEG is several photos; every other kind of frames is an animation.
            frames = 1 if kind == "JPEG" else getattr(picture, "n_frames", 1)
            if kind == "AVIF" and av1.is_sequence(data):
                frames = max(2, frames)
            orientation = picture.getexif().get(EXIF_ORIENTATION, 1)
    except Exception as error:
        raise UndecodableImage(f"the {kind} is truncated or broken") from error
    if not isinstance(orientation, int) or not 1 <= orientation <= 8:
        orientation = 1
    return Layout(orientation, frames)
