"""Reads images and form fields from a request, within limits, in memory.

Uploads are faces, so the service never spools them to a temporary file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from service.errors import (
    ImageTooLarge,
    InvalidParameter,
    MalformedRequest,
    UnsupportedMediaType,
)
from service.settings import Settings

IMAGE_TYPES = ("image/jpeg", "image/png", "image/bmp", "image/webp", "image/tiff")
RAW_TYPES = (*IMAGE_TYPES, "application/octet-stream")
MAX_FIELDS = 16
MAX_METADATA_BYTES = 8192
MAX_METADATA_DEPTH = 16


@dataclass(frozen=True, slots=True)
class UploadForm:
    """The fields and files of one form."""

    fields: dict[str, str]
    files: dict[str, tuple[bytes, ...]]

    def image(self, name: str) -> bytes:
        """Returns the one file of this name. Raises InvalidParameter if there is none or more than one."""
        found = self.files.get(name, ())
        if len(found) != 1:
            raise InvalidParameter(f"`{name}` must be one file, got {len(found)}")
        return found[0]


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_form(request: Request, settings: Settings) -> UploadForm:
    """Parses a multipart form. Raises MalformedRequest, InvalidParameter, ImageTooLarge."""
    parser = MultiPartParser(
        request.headers,
        request.stream(),
        max_files=settings.max_images + 2,
        max_fields=MAX_FIELDS,
        max_part_size=4 * MAX_METADATA_BYTES,
    )
    parser.spool_max_size = settings.max_body_bytes + 1
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise MalformedRequest(error.message) from error
    except (KeyError, ValueError, ClientDisconnect) as error:
        raise MalformedRequest("the form cannot be parsed") from error
    fields: dict[str, str] = {}
    files: dict[str, list[bytes]] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            place = files.setdefault(name, [])
            if (value.size or 0) > settings.max_image_bytes:
                raise ImageTooLarge(_too_large(settings), index=len(place))
            place.append(await value.read())
        elif name in fields:
            raise InvalidParameter(f"`{name}` is given twice")
        else:
            fields[name] = value
    await form.close()
    return UploadForm(fields, {name: tuple(found) for name, found in files.items()})


def form_of(request: Request) -> UploadForm:
    """The form that `ImageRoute` has read. Raises UnsupportedMediaType where the body is none."""
    form: UploadForm | None = getattr(request.state, "form", None)
    if form is None:
        raise UnsupportedMediaType("send the request as multipart/form-data")
    return form


async def read_image(request: Request, settings: Settings) -> bytes:
    """Reads the probe: a multipart field `image`, or the raw image as the body."""
    kind = media_type(request)
    if kind == "multipart/form-data":
        return form_of(request).image("image")
    if kind not in RAW_TYPES:
        raise UnsupportedMediaType(
            f"send multipart/form-data with `image`, or one of {', '.join(IMAGE_TYPES)} as the body"
        )
    body = await request.body()
    if len(body) > settings.max_image_bytes:
        raise ImageTooLarge(_too_large(settings))
    if not body:
        raise InvalidParameter("the body is empty: send an image")
    return body


def _too_large(settings: Settings) -> str:
    return f"an image may have {settings.max_image_bytes} bytes at most"


def parse_metadata(text: str | None) -> dict[str, Any] | None:
    """Parses a JSON object of at most 8 KiB. Raises MalformedRequest, InvalidParameter."""
    if text is None or not text.strip():
        return None
    if len(text.encode()) > MAX_METADATA_BYTES:
        raise InvalidParameter(f"`metadata` may have {MAX_METADATA_BYTES} bytes at most")
    try:
        value = json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest("`metadata` is no JSON") from error
    return validate_metadata(value)


def validate_metadata(value: object) -> dict[str, Any]:
    """Raises InvalidParameter unless the value is an object of at most 8 KiB and 16 levels."""
    if not isinstance(value, dict):
        raise InvalidParameter("`metadata` must be a JSON object")
    if _depth(value) > MAX_METADATA_DEPTH:
        raise InvalidParameter(f"`metadata` may nest {MAX_METADATA_DEPTH} levels at most")
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        # JSON has no infinity, but a parser makes one of 1e999.
        raise InvalidParameter("`metadata` holds a number that is too large") from error
    if "\x00" in text or "\\u0000" in text:
        raise InvalidParameter("`metadata` may not hold a null character")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidParameter("`metadata` holds half a surrogate pair") from error
    if size > MAX_METADATA_BYTES:
        raise InvalidParameter(f"`metadata` may have {MAX_METADATA_BYTES} bytes at most")
    return value


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _depth(value: object) -> int:
    """Counts levels of nesting, without recursion, which a deep value would exhaust."""
    deepest, level = 0, [value]
    while level:
        deepest += 1
        children: list[object] = []
        for item in level:
            if isinstance(item, dict):
                children.extend(item.values())
            elif isinstance(item, list):
                children.extend(item)
        level = children
    return deepest
