"""Seals what describes a subject: its metadata and its display name."""

from __future__ import annotations

import json
from typing import Any

from service.sealing.keys import SealBroken, SubjectKey
from service.store.errors import StoreError
from service.store.subject_keys import Unsealed

DESCRIPTION = "description"


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


def open_description(
    unsealed: Unsealed,
    subject_id: str,
    sealed: bytes | None,
    key_id: str | None,
    master_id: str | None,
    wrapped: bytes | None,
) -> tuple[dict[str, Any], str | None]:
    """Metadata and display name; a row that does not open is refused, and nothing is known of it."""
    key = unsealed.unwrap(subject_id, key_id, master_id, wrapped)
    if key is not None:
        try:
            return read_description(key, sealed)
        except StoreError:
            unsealed.refused.add(f"description under subject key {key_id}")
    return {}, None
