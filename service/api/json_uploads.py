"""The fields and images of a request in JSON: the same names as in a form, images in base64."""

from __future__ import annotations

import json

from faces.frames import ImageSource
from service.api.media import from_base64
from service.api.strict_json import RepeatedName, loads
from service.errors import InvalidParameter, MalformedRequest
from service.settings import Settings

ONE_IMAGE = ("image", "reference")
SEVERAL_IMAGES = "images"

Fields = dict[str, str]
Files = dict[str, tuple[ImageSource, ...]]


def parse_json(body: bytes, settings: Settings) -> tuple[Fields, Files]:
    """Returns what a form with these names would hold; a value that is no text becomes its JSON.

    Raises MalformedRequest, InvalidParameter, ImageTooLarge, UnsupportedMediaType.
    """
    try:
        content = loads(body)
    except RepeatedName as error:
        raise MalformedRequest(f"the body: {error}") from error
    except (ValueError, RecursionError) as error:
        raise MalformedRequest("the body is no JSON") from error
    if not isinstance(content, dict):
        raise InvalidParameter("the body must be a JSON object")
    fields: Fields = {}
    files: Files = {}
    for name, value in content.items():
        if value is None:
            continue
        if name in ONE_IMAGE:
            files[name] = (from_base64(name, value, settings),)
        elif name == SEVERAL_IMAGES:
            images = value if isinstance(value, list) else [value]
            if len(images) > settings.max_images:
                raise InvalidParameter(f"send 1 to {settings.max_images} images as `{name}`")
            files[name] = tuple(from_base64(name, image, settings, index=i) for i, image in enumerate(images))
        else:
            fields[name] = value if isinstance(value, str) else json.dumps(value)
            _refuse_half_pairs(name + fields[name])
    return fields, files


def _refuse_half_pairs(text: str) -> None:
    """JSON can spell half a surrogate pair, which no query and no database takes."""
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InvalidParameter("the body holds half a surrogate pair")
