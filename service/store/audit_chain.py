"""The hash chain of the audit log: each entry holds the digest of the entry before it.

An entry's digest is the SHA-256 of its canonical JSON (keys sorted, no spaces, ASCII, times in UTC with
microseconds) together with the digest before it. Whoever changes, removes or inserts an entry changes
every digest after it, and with it the head, which a signature outside the database can hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from service.store.records import AuditEntry

# What the first entry of a log has before it.
GENESIS = "0" * 64


class BrokenChain(ValueError):
    """An entry was changed, removed or inserted. `audit_id` is the first one that does not fit."""

    def __init__(self, audit_id: int, why: str) -> None:
        super().__init__(f"audit entry {audit_id}: {why}")
        self.audit_id = audit_id


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a chain: its number and its digest, hexadecimal."""

    audit_id: int = 0
    digest: str = GENESIS


def canonical(content: Mapping[str, Any]) -> bytes:
    """Serialises a JSON object so that equal objects have equal bytes. Raises ValueError for NaN."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def entry_digest(
    prev: str,
    *,
    audit_id: int,
    at: datetime,
    actor: str,
    action: str,
    subject: str | None,
    detail: Mapping[str, Any],
) -> str:
    """Computes the digest of an entry after the entry with the digest `prev`, hexadecimal."""
    content = {
        "version": 1,
        "prev": prev,
        "audit_id": audit_id,
        "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": actor,
        "action": action,
        "subject": subject,
        "detail": detail,
    }
    return hashlib.sha256(canonical(content)).hexdigest()


def follow(head: Head, entries: Iterable[AuditEntry]) -> Head:
    """Returns the head after these entries, which must follow `head`. Raises BrokenChain."""
    for entry in entries:
        if entry.audit_id <= head.audit_id:
            raise BrokenChain(entry.audit_id, "its number does not follow")
        if entry.prev != head.digest:
            raise BrokenChain(entry.audit_id, "an entry before it is missing or was changed")
        digest = entry_digest(
            entry.prev,
            audit_id=entry.audit_id,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            detail=entry.detail,
        )
        if digest != entry.digest:
            raise BrokenChain(entry.audit_id, "it was changed")
        head = Head(entry.audit_id, digest)
    return head
