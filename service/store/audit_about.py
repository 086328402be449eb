"""Finds every audit entry about one subject: its own, and those in which it is one of the candidates."""

from __future__ import annotations

from sqlalchemy import String, cast, or_, select

from service.store.records import AuditEntry
from service.store.tables import audit_log
from service.store.unit import UnitOfWork


async def entries_about(uow: UnitOfWork, name: str, after: int, limit: int) -> list[AuditEntry]:
    """Returns up to `limit` entries newer than entry `after` that have this pseudonym, oldest first.

    No index covers lists of candidates: the whole log is read once over all pages. Raises StoreError.
    """
    # A pseudonym is 32 random hexadecimal digits, so its place in the text says nothing else.
    named = or_(audit_log.c.subject == name, cast(audit_log.c.detail, String).contains(name))
    query = (
        select(audit_log)
        .where(audit_log.c.audit_id > after, named)
        .order_by(audit_log.c.audit_id)
        .limit(limit)
    )
    return [AuditEntry(*row) for row in await uow.connection.execute(query)]
