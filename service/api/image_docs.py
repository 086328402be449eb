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
# What the document says of an option where it stands in the query, and need not repeat.
IN_QUERY = ("default", "title", "description")
ABOUT_IMAGES = (
    "Each option may stand in the query or in the body, not in both; a field that is not named is refused."
    " An image may also be a raw frame: `application/octet-stream;format=Y16;width=640;height=480`, with"
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
    fields: Schema = {"type": "object", "required": list(required), "additionalProperties": False}
    content = {
        FORM: {"schema": fields | {"properties": dict(form)}},
        JSON: {"schema": fields | {"properties": dict(json)}},
    }
    content |= {kind: {"schema": BINARY} for kind in alone}
    return {"requestBody": {"required": True, "description": ABOUT_IMAGES, "content": content}}


def with_options(operation: Schema) -> Schema:
    """The operation as the document names it: its form and its JSON have the options of its query as well.

    `KnownOptions` takes them from either place. An option that the query must have is named there alone: no
    document can say "here or there". An operation without a form is returned as it is.
    """
    body = operation.get("requestBody", {})
    content = body.get("content", {})
    if FORM not in content:
        return operation
    options = {
        each["name"]: {name: value for name, value in each["schema"].items() if name not in IN_QUERY}
        for each in operation.get("parameters", ())
        if each["in"] == "query" and not each.get("required", False)
    }
    # A form has no null.
    by_kind = {FORM: {name: _not_null(schema) for name, schema in options.items()}, JSON: options}
    described = {
        kind: {"schema": schema | {"properties": by_kind[kind] | schema["properties"]}}
        for kind, schema in ((kind, content[kind]["schema"]) for kind in by_kind)
    }
    return operation | {"requestBody": body | {"content": content | described}}


def _not_null(schema: Schema) -> Schema:
    """The schema without the choice of null."""
    choices = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    if len(choices) != 1:
        return schema
    chosen: Schema = choices[0]
    return {name: value for name, value in schema.items() if name != "anyOf"} | chosen


PROBE_BODY = image_body(
    ["image"], form={"image": BINARY}, json={"image": BASE64}, alone=(*IMAGE_TYPES, BYTES)
)
_SUBJECT_ID: Schema = {"type": "string"}
VERIFY_BODY = image_body(
    ["image"],
    form={"image": BINARY, "subject_id": _SUBJECT_ID, "reference": BINARY},
    json={"image": BASE64, "subject_id": _SUBJECT_ID, "reference": BASE64},
)
