"""Subjects by any text, for clients that know no id: each name has one id, which follows from it.

A name that is a valid id is the id. Any other becomes the display name of a subject whose id is made of the
name's plain letters and its digest, so that the same name always leads to the same subject.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from service.errors import InvalidParameter
from service.subjects.names import InvalidName, normal_name
from service.subjects.validation import SUBJECT_ID

NOT_PLAIN = re.compile(r"[^A-Za-z0-9._:@-]+")
PLAIN_LETTERS, DIGEST_LETTERS = 100, 8


@dataclass(frozen=True, slots=True)
class FreeName:
    """What a name stands for. `display_name`: None where the name is the id."""

    subject_id: str
    display_name: str | None


def free_name(text: str) -> FreeName:
    """Raises InvalidParameter for a text that can be no display name."""
    if SUBJECT_ID.fullmatch(text) and text not in (".", ".."):
        return FreeName(text, None)
    try:
        name = normal_name(text)
    except InvalidName as error:
        raise InvalidParameter(f"`subject`: {error}") from error
    if SUBJECT_ID.fullmatch(name) and name not in (".", ".."):
        return FreeName(name, None)
    plain = NOT_PLAIN.sub("-", name).strip("-")[:PLAIN_LETTERS]
    digest = hashlib.sha256(name.encode()).hexdigest()[:DIGEST_LETTERS]
    return FreeName(f"{plain}-{digest}", name)


def name_of(subject_id: str, display_name: str | None) -> str:
    """The name that leads back to this subject: its display name only where the id follows from it."""
    if display_name is None:
        return subject_id
    try:
        known = free_name(display_name)
    except InvalidParameter:
        return subject_id
    return display_name if known.subject_id == subject_id else subject_id
