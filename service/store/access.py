"""Stores API keys, the audit log, and the answers of idempotent requests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.errors import IdempotencyTaken
from service.store.records import AuditEntry, StoredAnswer, StoredKey
from service.store.tables import api_keys, audit_log, idempotency


class Keys:
    """All SQL about API keys."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, key: StoredKey) -> None:
        await self._connection.execute(
            insert(api_keys).values(
                key_id=key.key_id,
                role=key.role,
                label=key.label,
                digest=key.digest,
                created_at=key.created_at,
                revoked_at=key.revoked_at,
            )
        )

    async def find(self, digest: str) -> StoredKey | None:
        """Finds the key with this digest, revoked or not."""
        row = (await self._connection.execute(select(api_keys).where(api_keys.c.digest == digest))).first()
        return StoredKey(*row) if row else None

    async def all(self) -> list[StoredKey]:
        query = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.key_id)
        return [StoredKey(*row) for row in await self._connection.execute(query)]

    async def revoke(self, key_id: str) -> bool:
        """Revokes a key; returns false if there is no such active key."""
        revoked = (
            update(api_keys)
            .where(api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=datetime.now(UTC))
        )
        return (await self._connection.execute(revoked)).rowcount == 1

    async def any_active(self) -> bool:
        """Returns whether an active key exists."""
        query = select(api_keys.c.key_id).where(api_keys.c.revoked_at.is_(None)).limit(1)
        return (await self._connection.execute(query)).first() is not None

    async def any_ever(self) -> bool:
        """Whether a key was ever made; revoked ones stay."""
        query = select(api_keys.c.key_id).limit(1)
        return (await self._connection.execute(query)).first() is not None


class Audit:
    """All SQL about the audit log. Nothing changes or removes an entry."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, actor: str, action: str, subject_id: str | None, detail: dict[str, Any]) -> int:
        added = (
            insert(audit_log)
            .values(
                at=datetime.now(UTC),
                actor=actor,
                action=action,
                subject_id=subject_id,
                detail=detail,
            )
            .returning(audit_log.c.audit_id)
        )
        return int((await self._connection.execute(added)).scalar_one())

    async def page(self, before: int | None, limit: int) -> list[AuditEntry]:
        """Returns up to `limit` entries older than entry `before`, newest first."""
        query = select(audit_log).order_by(audit_log.c.audit_id.desc()).limit(limit)
        if before is not None:
            query = query.where(audit_log.c.audit_id < before)
        return [AuditEntry(*row) for row in await self._connection.execute(query)]


class Idempotency:
    """All SQL about idempotency: keeps answers by key, so that a repeated request gets the same one."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, scope: str, key: str) -> StoredAnswer | None:
        query = select(idempotency.c.request_digest, idempotency.c.status, idempotency.c.body).where(
            idempotency.c.scope == scope, idempotency.c.key == key
        )
        row = (await self._connection.execute(query)).first()
        return StoredAnswer(*row) if row else None

    async def put(
        self,
        scope: str,
        key: str,
        *,
        request_digest: str,
        subject_id: str,
        status: int,
        body: dict[str, Any],
    ) -> None:
        """Stores an answer. Raises IdempotencyTaken if the key has one already."""
        values = {
            "scope": scope,
            "key": key,
            "request_digest": request_digest,
            "subject_id": subject_id,
            "status": status,
            "body": body,
            "created_at": datetime.now(UTC),
        }
        try:
            await self._connection.execute(insert(idempotency).values(values))
        except IntegrityError as error:
            raise IdempotencyTaken("the idempotency key has an answer already") from error

    async def replace(
        self,
        scope: str,
        key: str,
        *,
        request_digest: str,
        subject_id: str,
        status: int,
        body: dict[str, Any],
    ) -> None:
        """Stores an answer instead of the one that the key may have."""
        await self._connection.execute(
            delete(idempotency).where(idempotency.c.scope == scope, idempotency.c.key == key)
        )
        await self.put(
            scope, key, request_digest=request_digest, subject_id=subject_id, status=status, body=body
        )

    async def purge(self, before: datetime) -> int:
        """Deletes answers older than `before` and returns their number."""
        expired = delete(idempotency).where(idempotency.c.created_at < before)
        return (await self._connection.execute(expired)).rowcount
