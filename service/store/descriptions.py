"""Seals what describes a subject, metadata and display name, and opens it together with its id."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from service.sealing.keys import SealBroken, SubjectKey
from service.store.errors import StoreError
from service.store.subject_ids import open_id
from service.store.subject_keys import WRAPPED_KEY, Unsealed
from service.store.tables import subjects

DESCRIPTION = "description"
# What `open_subject` takes after the token, in this order.
SEALED_SUBJECT = (subjects.c.sealed_id, subjects.c.sealed, *WRAPPED_KEY)


@dataclass(frozen=True, slots=True)
class Opened:
    """What callers know of a subject. `subject_id`: its token if the id does not open."""

    subject_id: str
    metadata: dict[str, Any] = field(default_factory=dict)
    display_name: str | None = None


def seal_description(key: SubjectKey, metadata: dict[str, Any], display_name: str | None) -> bytes:
    """The sealed description; the key, which is bound to the subject, binds it."""
    plain = json.dumps({"metadata": metadata, "display_name": display_name})
    return key.seal(plain.encode(), DESCRIPTION)


def read_description(key: SubjectKey, sealed: bytes | None) -> tuple[dict[str, Any], str | None]:
    """Metadata and display name. Raises StoreError if they do not open."""
    try:
        found = json.loads(key.open(sealed or b"", DESCRIPTION))
    except SealBroken as error:
        raise StoreError("the description of the subject does not open") from error
    return found["metadata"], found["display_name"]


def open_subject(
    unsealed: Unsealed,
    token: str,
    sealed_id: bytes | None,
    sealed: bytes | None,
    key_id: str | None,
    master_id: str | None,
    wrapped: bytes | None,
) -> Opened:
    """Id, metadata and display name; what does not open is refused, and nothing is known of it."""
    key = unsealed.unwrap(token, key_id, master_id, wrapped)
    if key is None:
        return Opened(token)
    try:
        subject_id = open_id(key, token, sealed_id)
    except SealBroken:
        unsealed.refused.add(f"subject id under subject key {key_id}")
        subject_id = token
    try:
        return Opened(subject_id, *read_description(key, sealed))
    except StoreError:
        unsealed.refused.add(f"description under subject key {key_id}")
        return Opened(subject_id)
