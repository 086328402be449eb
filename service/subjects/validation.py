"""Checks what clients say of a subject: its id, its display name, its metadata."""

from __future__ import annotations

import json
import re
from typing import Any

from service.errors import InvalidParameter
from service.subjects.names import InvalidName, normal_name

SUBJECT_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
MAX_METADATA_BYTES = 8192
MAX_METADATA_DEPTH = 16


def validate_subject_id(text: str) -> str:
    """Returns the id. Raises InvalidParameter if it is malformed."""
    if not SUBJECT_ID.fullmatch(text):
        raise InvalidParameter("a subject_id has 1 to 128 characters of A-Z a-z 0-9 . _ : @ -")
    if text in (".", ".."):
        # Clients resolve these in a URL, so such a subject could be enrolled but never erased.
        raise InvalidParameter("a subject_id may not be `.` or `..`")
    return text


def validate_name(text: str) -> str:
    """Returns the display name as it is kept. Raises InvalidParameter."""
    try:
        return normal_name(text)
    except InvalidName as error:
        raise InvalidParameter(f"`display_name`: {error}") from error


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
