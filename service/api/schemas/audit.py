"""Wire types of /admin/audit."""

from __future__ import annotations

from typing import Any

from service.api.schemas.base import Wire
from service.audit.signing import SignedHead
from service.audit.verification import entry_json
from service.store.records import AuditEntry


class AuditEntryOut(Wire):
    """An entry. `subject`: a pseudonym. `digest`: of this entry and `prev`, the digest before it."""

    audit_id: int
    at: str
    actor: str
    action: str
    subject: str | None
    detail: dict[str, Any]
    prev: str
    digest: str

    @classmethod
    def of(cls, entry: AuditEntry) -> AuditEntryOut:
        return cls(**entry_json(entry))


class AuditOut(Wire):
    entries: list[AuditEntryOut]
    next_cursor: str | None


class AuditHeadOut(Wire):
    """The last entry, signed (Ed25519): keep it elsewhere, and a rewritten log will not fit it."""

    audit_id: int
    digest: str
    at: str
    public_key: str
    signature: str

    @classmethod
    def of(cls, head: SignedHead) -> AuditHeadOut:
        return cls(**head.as_json())
