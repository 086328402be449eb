"""What the bytes of one upload are: a file with a header, or a raw frame that its media type declares."""

from __future__ import annotations

import base64
import binascii

from python_multipart.multipart import parse_options_header

from faces.formats import UnsupportedMediaType as UnknownFormat
from faces.frames import FrameFormat, ImageSource, InvalidFrame, RawFrame
from service.errors import ImageTooLarge, InvalidParameter, UnsupportedMediaType
from service.settings import Settings

IMAGE_TYPES = (
    *("image/jpeg", "image/jpg", "image/png", "image/bmp", "image/webp", "image/tiff"),
    *("image/heic", "image/heif", "image/avif"),
)
BYTES = "application/octet-stream"
RAW_TYPES = (*IMAGE_TYPES, BYTES)
DATA_URL = "data:"


def media_type(header: str) -> tuple[str, dict[str, str]]:
    """Splits a Content-Type into the type in lower case and its parameters (RFC 9110, 8.3.1)."""
    kind, parameters = parse_options_header(header)
    return (
        kind.decode("latin-1").strip().lower(),
        {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in parameters.items()},
    )


def image_source(data: bytes, content_type: str) -> ImageSource:
    """The image that these bytes are: `application/octet-stream` with parameters is a raw frame.

    Raises InvalidParameter for a wrong declaration, UnsupportedMediaType for an unknown frame format.
    """
    kind, parameters = media_type(content_type)
    if kind != BYTES or not parameters:
        return data
    try:
        return RawFrame(FrameFormat.parse(parameters), data)
    except InvalidFrame as error:
        raise InvalidParameter(str(error)) from error
    except UnknownFormat as error:
        raise UnsupportedMediaType(str(error)) from error


def checked_size(data: bytes, settings: Settings, *, index: int | None = None) -> bytes:
    """Raises ImageTooLarge for more than `max_image_bytes`."""
    if len(data) > settings.max_image_bytes:
        raise ImageTooLarge(f"an image may have {settings.max_image_bytes} bytes at most", index=index)
    return data


def from_base64(name: str, text: object, settings: Settings, *, index: int | None = None) -> ImageSource:
    """An image from JSON: base64 (RFC 4648, 4), plain or as a data URL (RFC 2397), whose type counts.

    Raises InvalidParameter, ImageTooLarge, UnsupportedMediaType.
    """
    if not isinstance(text, str):
        raise InvalidParameter(f"`{name}` must be an image in base64", index=index)
    kind, encoded = "", text
    if text[: len(DATA_URL)].lower() == DATA_URL:
        kind, comma, encoded = text[len(DATA_URL) :].partition(",")
        if not comma or not kind.lower().endswith(";base64"):
            raise InvalidParameter(f"`{name}` is a data URL without `;base64,`", index=index)
        kind = kind[: -len(";base64")]
        if not kind.isascii():
            raise InvalidParameter(f"`{name}` is a data URL of no media type", index=index)
    try:
        data = base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidParameter(f"`{name}` is no base64", index=index) from error
    if not data:
        raise InvalidParameter(f"`{name}` is empty: send an image", index=index)
    return image_source(checked_size(data, settings, index=index), kind)
