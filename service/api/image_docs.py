"""What the OpenAPI document says of requests with images: their bodies, and the problems any may meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.api.media import BYTES, IMAGE_TYPES
from service.api.uploads import FORM, JSON
from service.errors import (
    AuditUnavailable,
    BodyTooLarge,
    Draining,
    Forbidden,
    ImageTooCostly,
    ImageTooLarge,
    InvalidParameter,
    LowQuality,
    MalformedRequest,
    NotReady,
    Overloaded,
    RateLimited,
    Unauthorized,
    UndecodableImage,
    UnsupportedMediaType,
    WrongSpectrum,
)

Schema = dict[str, Any]

ANY_IMAGE = (
    *(MalformedRequest, Unauthorized, Forbidden, ImageTooLarge, BodyTooLarge),
    *(UnsupportedMediaType, UndecodableImage, ImageTooCostly, InvalidParameter, LowQuality, WrongSpectrum),
    *(RateLimited, Overloaded, NotReady, AuditUnavailable, Draining),
)
BINARY: Schema = {"type": "string", "format": "binary"}
BASE64: Schema = {
    "type": "string",
    "contentEncoding": "base64",
    "minLength": 1,
    "description": "plain, or a data URL whose media type counts",
}
ABOUT_IMAGES = (
    "An image may also be a raw frame: `application/octet-stream;format=Y16;width=640;height=480`, with"
    " `stride` in bytes where rows are padded. Formats: GREY, Y8, Y10, Y12, Y16 (little endian), NV12."
)


def image_body(
    required: Sequence[str],
    *,
    form: Mapping[str, Schema],
    json: Mapping[str, Schema],
    alone: Sequence[str] = (),
) -> Schema:
    """The body of a route, for `openapi_extra`: a form, or a JSON object, of these properties.

    `alone`: media types of an image that may be the whole body.
    """
    fields: Schema = {"type": "object", "required": list(required)}
    content = {
        FORM: {"schema": fields | {"properties": dict(form)}},
        JSON: {"schema": fields | {"properties": dict(json), "additionalProperties": False}},
    }
    content |= {kind: {"schema": BINARY} for kind in alone}
    return {"requestBody": {"required": True, "description": ABOUT_IMAGES, "content": content}}


PROBE_BODY = image_body(
    ["image"], form={"image": BINARY}, json={"image": BASE64}, alone=(*IMAGE_TYPES, BYTES)
)
_SUBJECT_ID: Schema = {"type": "string"}
VERIFY_BODY = image_body(
    ["image"],
    form={"image": BINARY, "subject_id": _SUBJECT_ID, "reference": BINARY},
    json={"image": BASE64, "subject_id": _SUBJECT_ID, "reference": BASE64},
)
