"""Reads images and form fields from a request, within limits, in memory.

Uploads are faces, so the service never spools them to a temporary file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from faces.formats import ACCEPTED
from faces.frames import ImageSource
from service.api.json_uploads import ONE_IMAGE, parse_json
from service.api.media import IMAGE_TYPES, RAW_TYPES, checked_size, image_source, media_type
from service.api.strict_json import RepeatedName, loads
from service.api.whole_forms import CutForm, WholeFormParser
from service.errors import InvalidParameter, MalformedRequest, UnsupportedMediaType
from service.settings import Settings
from service.subjects.validation import MAX_METADATA_BYTES, validate_metadata

FORM, JSON = "multipart/form-data", "application/json"
MAX_FIELDS = 16
PARSED_AT_ONCE = 64 << 10


@dataclass(frozen=True, slots=True)
class UploadForm:
    """The fields and images of one form, or of one JSON object with the same names."""

    fields: dict[str, str]
    files: dict[str, tuple[ImageSource, ...]]

    def image(self, name: str) -> ImageSource:
        """The one file of this name. Raises InvalidParameter."""
        found = self.files.get(name, ())
        if len(found) != 1:
            raise InvalidParameter(f"`{name}` must be one file, got {len(found)}")
        return found[0]


def content_type(request: Request) -> str:
    return media_type(request.headers.get("content-type", ""))[0]


CHARSETS = ("utf-8", "utf8", "us-ascii")


async def read_upload(
    request: Request, settings: Settings, *, one_image: tuple[str, ...] = ONE_IMAGE
) -> UploadForm | None:
    """Parses a multipart form, or a JSON object with the names of the form; None for another type.

    `one_image`: names of JSON whose value is an image.

    Raises MalformedRequest, InvalidParameter, ImageTooLarge, UnsupportedMediaType.
    """
    kind = content_type(request)
    if kind == JSON:
        # In a thread, whose steps are short: what holds the interpreter holds up every other request.
        body = await request.body()
        return UploadForm(*await asyncio.to_thread(parse_json, body, settings, one_image=one_image))
    return await _read_form(request, settings) if kind == FORM else None


async def in_turns(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """A body in pieces, between which others get their turn: a parser may take long for a large one."""
    async for chunk in chunks:
        for start in range(0, len(chunk), PARSED_AT_ONCE):
            yield chunk[start : start + PARSED_AT_ONCE]
            await asyncio.sleep(0)


async def _read_form(request: Request, settings: Settings) -> UploadForm:
    charset = media_type(request.headers.get("content-type", ""))[1].get("charset", "utf-8")
    if charset.lower() not in CHARSETS:
        # The parser would decode names and values with any text codec that Python has.
        raise MalformedRequest("a form must be in UTF-8")
    parser = WholeFormParser(
        request.headers,
        in_turns(request.stream()),
        max_files=settings.max_images + 2,
        max_fields=MAX_FIELDS,
        max_part_size=4 * MAX_METADATA_BYTES,
    )
    parser.spool_max_size = settings.max_body_bytes + 1
    try:
        form = await parser.parse()
        parser.check_whole()
    except CutForm as error:
        raise MalformedRequest(error.message, index=error.index) from error
    except MultiPartException as error:
        raise MalformedRequest(error.message) from error
    except (KeyError, ValueError, ClientDisconnect) as error:
        raise MalformedRequest("the form cannot be parsed") from error
    fields: dict[str, str] = {}
    files: dict[str, list[ImageSource]] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            place = files.setdefault(name, [])
            data = checked_size(await value.read(), settings, index=len(place))
            place.append(image_source(data, value.content_type or ""))
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
        raise UnsupportedMediaType(f"send the request as {FORM} or JSON")
    return form


async def read_image(request: Request, settings: Settings) -> ImageSource:
    """The probe: a field `image` of a form or of JSON, or the image itself as the body."""
    kind = content_type(request)
    if kind in (FORM, JSON):
        return form_of(request).image("image")
    if kind not in RAW_TYPES:
        raise UnsupportedMediaType(
            f"send {ACCEPTED}: as {FORM} or JSON with `image`, or as the body with one of the types"
            f" {', '.join(IMAGE_TYPES)}"
        )
    body = checked_size(await request.body(), settings)
    if not body:
        raise InvalidParameter("the body is empty: send an image")
    return image_source(body, request.headers["content-type"])


def parse_metadata(text: str | None) -> dict[str, Any] | None:
    """Parses a JSON object of at most 8 KiB. Raises MalformedRequest, InvalidParameter."""
    if text is None or not text.strip():
        return None
    if len(text.encode()) > MAX_METADATA_BYTES:
        raise InvalidParameter(f"`metadata` may have {MAX_METADATA_BYTES} bytes at most")
    try:
        value = loads(text)
    except RepeatedName as error:
        raise MalformedRequest(f"`metadata`: {error}") from error
    except (ValueError, RecursionError) as error:
        raise MalformedRequest("`metadata` is no JSON") from error
    return validate_metadata(value)
