"""Makes small pictures of photos for a report, with the face that was meant in a frame."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np

from faces.formats import ImageError
from faces.image import DecodeLimits, decode
from faces.types import Pixels, Spectrum
from service.evaluation.described import Described, Template

SIDE_PX, QUALITY, FRAME_PX = 128, 80, 2
FRAME = (60, 160, 60)
# As much of a face's surroundings as its longer side.
AROUND = 0.6
LIMITS = DecodeLimits(max_bytes=1 << 26, max_pixels=1 << 26, work_pixels=1 << 21)
Box = tuple[float, float, float, float]


def thumbnail(path: Path, box: Box | None) -> str | None:
    """A JPEG of `SIDE_PX` pixels as a data URL: the face and what is around it, or the whole picture.

    None if the file cannot be decoded.
    """
    try:
        picture = small_jpeg(path.read_bytes(), box)
    except OSError:
        return None
    return None if picture is None else data_url(picture)


def picture_of(one: Described | None) -> str | None:
    """The thumbnail of a described photo, with its face if it has a template; None without a photo."""
    if one is None:
        return None
    return thumbnail(one.photo.path, one.found.box if isinstance(one.found, Template) else None)


def data_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def small_jpeg(data: bytes, box: Box | None = None) -> bytes | None:
    """The JPEG of `thumbnail`, of the bytes of a photo."""
    try:
        image = decode(data, limits=LIMITS, spectrum=Spectrum.VIS)
    except ImageError:
        return None
    drawn = _cut(image.pixels, tuple(side / image.reduction for side in box) if box else None)
    done, jpeg = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return jpeg.tobytes() if done else None


def _cut(pixels: Pixels, box: tuple[float, ...] | None) -> Pixels:
    height, width = pixels.shape[:2]
    if box is None:
        left, top, side = 0.0, 0.0, float(max(height, width))
    else:
        x, y, w, h = box
        side = max(w, h) * (1 + AROUND)
        left, top = x + w / 2 - side / 2, y + h / 2 - side / 2
    scale = SIDE_PX / max(side, 1.0)
    shift = np.array([[scale, 0.0, -left * scale], [0.0, scale, -top * scale]])
    drawn = cv2.warpAffine(pixels, shift, (SIDE_PX, SIDE_PX), flags=cv2.INTER_AREA, borderValue=(128,) * 3)
    if box is not None:
        corner = (round((x - left) * scale), round((y - top) * scale))
        other = (round((x + w - left) * scale), round((y + h - top) * scale))
        cv2.rectangle(drawn, corner, other, FRAME, FRAME_PX)
    return np.asarray(drawn, np.uint8)
