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
DATA_URL = b"data:"
# Base64 is decoded in pieces of so many letters.
PIECE = 1 << 20
WHITESPACE = b" \t\r\n\v\f"
JSON_ESCAPES = {
    b"\\/": b"/",
    b"\\n": b"\n",
    b"\\r": b"\r",
    b"\\t": b"\t",
    b"\\u002b": b"+",
    b"\\u002B": b"+",
    b"\\u002f": b"/",
    b"\\u002F": b"/",
    b"\\u003d": b"=",
    b"\\u003D": b"=",
}


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
        raise _too_large(settings, index)
    return data


def _too_large(settings: Settings, index: int | None) -> ImageTooLarge:
    return ImageTooLarge(f"an image may have {settings.max_image_bytes} bytes at most", index=index)


def from_base64(name: str, text: object, settings: Settings, *, index: int | None = None) -> ImageSource:
    """An image from JSON: base64 (RFC 4648, 4), plain or as a data URL (RFC 2397), whose type counts.

    `text`: bytes are the content of a JSON string with its escapes. Raises InvalidParameter, ImageTooLarge,
    UnsupportedMediaType.
    """
    if isinstance(text, str):
        encoded = text.encode("utf-8", "surrogatepass")
    elif isinstance(text, bytes):
        encoded = _without_escapes(text)
    else:
        raise InvalidParameter(f"`{name}` must be an image in base64", index=index)
    kind = ""
    if encoded[: len(DATA_URL)].lower() == DATA_URL:
        before, comma, encoded = encoded[len(DATA_URL) :].partition(b",")
        kind = before.decode("ascii", "replace")
        if not comma or not kind.lower().endswith(";base64"):
            raise InvalidParameter(f"`{name}` is a data URL without `;base64,`", index=index)
        kind = kind[: -len(";base64")]
        if not before.isascii():
            raise InvalidParameter(f"`{name}` is a data URL of no media type", index=index)
    if len(encoded) > 2 * settings.max_image_bytes:
        raise _too_large(settings, index)
    try:
        data = _decoded(encoded)
    except (binascii.Error, ValueError) as error:
        raise InvalidParameter(f"`{name}` is no base64", index=index) from error
    if not data:
        raise InvalidParameter(f"`{name}` is empty: send an image", index=index)
    return image_source(checked_size(data, settings, index=index), kind)


def _without_escapes(content: bytes) -> bytes:
    """Resolves the escapes that writers of JSON use within base64; any other makes it no base64."""
    if b"\\" not in content:
        return content
    for escape, letter in JSON_ESCAPES.items():
        content = content.replace(escape, letter)
    return content


def _decoded(encoded: bytes) -> bytes:
    """Decodes piece by piece, since each holds the interpreter. Raises binascii.Error."""
    decoded, rest = [], b""
    for start in range(0, len(encoded), PIECE):
        rest += encoded[start : start + PIECE].translate(None, WHITESPACE)
        ready = len(rest) // 4 * 4
        if start + PIECE < len(encoded):
            # The last four may be the end, if only white space follows: they wait for the next piece.
            ready = max(0, ready - 4)
            if b"=" in rest[:ready]:
                raise binascii.Error("padding before the end")
        else:
            ready = len(rest)
        decoded.append(base64.b64decode(rest[:ready], validate=True))
        rest = rest[ready:]
    return b"".join(decoded)
