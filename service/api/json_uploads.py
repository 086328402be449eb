"""The fields and images of a request in JSON: the same names as in a form, images in base64."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from faces.frames import ImageSource
from service.api.long_strings import TooMuchBeside, lift
from service.api.media import from_base64
from service.api.strict_json import RepeatedName, loads
from service.errors import BodyTooLarge, InvalidParameter, MalformedRequest
from service.settings import Settings

ONE_IMAGE = ("image", "reference")
SEVERAL_IMAGES = "images"
# Fields and names; metadata, the largest of them, has 8 KiB.
MAX_BESIDE_BYTES = 64 << 10

Fields = dict[str, str]
Files = dict[str, tuple[ImageSource, ...]]


def parse_json(
    body: bytes, settings: Settings, *, one_image: Collection[str] = ONE_IMAGE
) -> tuple[Fields, Files]:
    """Returns what a form with these names would hold; a value that is no text becomes its JSON.

    `one_image`: names whose value is an image.

    Raises MalformedRequest, InvalidParameter, BodyTooLarge, ImageTooLarge, UnsupportedMediaType.
    """
    try:
        rest, images_of = lift(body, limit=MAX_BESIDE_BYTES)
        content = loads(rest)
    except TooMuchBeside:
        raise BodyTooLarge(
            f"a JSON body may have {MAX_BESIDE_BYTES} bytes beside its images, and is written in UTF-8"
        ) from None
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
        if name in one_image:
            files[name] = (from_base64(name, _whole(value, images_of), settings),)
        elif name == SEVERAL_IMAGES:
            images = value if isinstance(value, list) else [value]
            if len(images) > settings.max_images:
                raise InvalidParameter(f"send 1 to {settings.max_images} images as `{name}`")
            files[name] = tuple(
                from_base64(name, _whole(image, images_of), settings, index=i)
                for i, image in enumerate(images)
            )
        else:
            fields[name] = _text(value, images_of)
            _refuse_half_pairs(name + fields[name])
    return fields, files


def _whole(value: object, lifted: Mapping[str, bytes]) -> object:
    """The value that stood in the body; bytes for a long string. Raises MalformedRequest."""
    found = lifted.get(value, value) if isinstance(value, str) else value
    if isinstance(found, bytes) and any(letter in found for letter in (b"\n", b"\r", b"\t")):
        raise MalformedRequest("the body is no JSON: a string holds the end of a line")
    return found


def _text(value: object, lifted: Mapping[str, bytes]) -> str:
    """What a form would hold. Raises InvalidParameter for more than a form's field may have."""
    text = value if isinstance(value, str) else json.dumps(value)
    for name, content in lifted.items():
        if name in text:
            if len(content) > MAX_BESIDE_BYTES:
                raise InvalidParameter(f"a field may have {MAX_BESIDE_BYTES} bytes at most")
            try:
                whole = json.loads(b'"' + content + b'"')
            except ValueError as error:
                raise MalformedRequest("the body is no JSON") from error
            # Within other JSON it stands between quotes, as it did.
            text = text.replace(name, whole if isinstance(value, str) else json.dumps(whole)[1:-1])
    return text


def _refuse_half_pairs(text: str) -> None:
    """JSON can spell half a surrogate pair, which no query and no database takes."""
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InvalidParameter("the body holds half a surrogate pair")
