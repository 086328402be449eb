"""Stores API keys and the answers of idempotent requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.sealing.keys import SealBroken, SubjectKey
from service.store.errors import IdempotencyTaken, StoreError
from service.store.records import StoredAnswer, StoredKey
from service.store.resealing import ANSWER
from service.store.subject_keys import SubjectKeys
from service.store.tables import api_keys, idempotency


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
                expires_at=key.expires_at,
                permissions=list(key.permissions),
                last_used_at=key.last_used_at,
            )
        )

    async def find(self, digest: str) -> StoredKey | None:
        """Finds the key with this digest, revoked or not."""
        row = (await self._connection.execute(select(api_keys).where(api_keys.c.digest == digest))).first()
        return _stored_key(row) if row else None

    async def get(self, key_id: str) -> StoredKey | None:
        row = (await self._connection.execute(select(api_keys).where(api_keys.c.key_id == key_id))).first()
        return _stored_key(row) if row else None

    async def all(self) -> list[StoredKey]:
        query = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.key_id)
        return [_stored_key(row) for row in await self._connection.execute(query)]

    async def page(self, after: str | None, limit: int) -> list[StoredKey]:
        """Returns up to `limit` keys in order of their ids, after `after`."""
        query = select(api_keys).order_by(api_keys.c.key_id).limit(limit)
        if after is not None:
            query = query.where(api_keys.c.key_id > after)
        return [_stored_key(row) for row in await self._connection.execute(query)]

    async def other_admin(self, key_id: str, moment: datetime) -> bool:
        """Returns whether an admin key beside this one is neither revoked nor expired at `moment`.

        Locks those keys until the transaction ends, so that two admins do not revoke each other at once.
        """
        query = (
            select(api_keys)
            .where(api_keys.c.role == "admin", api_keys.c.revoked_at.is_(None))
            .order_by(api_keys.c.key_id)
            .with_for_update()
        )
        keys = [_stored_key(row) for row in await self._connection.execute(query)]
        return any(key.key_id != key_id and key.active_at(moment) for key in keys)

    async def used(self, moments: Mapping[str, datetime]) -> None:
        """Stores when keys were last used; a later time that is known already stays."""
        for key_id, moment in moments.items():
            later = (
                update(api_keys)
                .where(
                    api_keys.c.key_id == key_id,
                    or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < moment),
                )
                .values(last_used_at=moment)
            )
            await self._connection.execute(later)

    async def revoke(self, key_id: str) -> bool:
        """Revokes a key; returns false if there is no such active key."""
        revoked = (
            update(api_keys)
            .where(api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=datetime.now(UTC))
        )
        return (await self._connection.execute(revoked)).rowcount == 1

    async def any_active(self) -> bool:
        """Returns whether a key exists that is neither revoked nor expired."""
        query = (
            select(api_keys.c.key_id)
            .where(
                api_keys.c.revoked_at.is_(None),
                or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > datetime.now(UTC)),
            )
            .limit(1)
        )
        return (await self._connection.execute(query)).first() is not None

    async def any_ever(self) -> bool:
        """Whether a key was ever made; revoked ones stay."""
        query = select(api_keys.c.key_id).limit(1)
        return (await self._connection.execute(query)).first() is not None


def _stored_key(row: Row[Any]) -> StoredKey:
    return StoredKey(**{**row._mapping, "permissions": tuple(row.permissions)})


def seal_answer(
    owner: SubjectKey, scope: str, token: str, *, request_digest: str, body: dict[str, Any]
) -> bytes:
    """An answer, with the digest of its request, as its row keeps it."""
    plain = json.dumps({"request_digest": request_digest, "body": body})
    return owner.seal(plain.encode(), ANSWER, scope, token)


class Idempotency:
    """All SQL about idempotency: keeps answers by key, so that a repeated request gets the same one.

    The tables hold a token of the key, and of the request nothing in clear: both may tell of a subject.
    """

    def __init__(self, connection: AsyncConnection, keys: SubjectKeys) -> None:
        self._connection, self._keys = connection, keys

    async def get(self, scope: str, key: str) -> StoredAnswer | None:
        """The answer under this key. Raises StoreError if it does not open."""
        token = await self._keys.ids.answer_token(scope, key)
        columns = (idempotency.c.status, idempotency.c.subject_id, idempotency.c.sealed)
        query = select(*columns).where(idempotency.c.scope == scope, idempotency.c.key == token)
        row = (await self._connection.execute(query)).first()
        if row is None:
            return None
        status, subject_id, sealed = row
        owner = await self._keys.of_subject(subject_id)
        try:
            answer = json.loads(owner.open(sealed or b"", ANSWER, scope, token))
        except SealBroken as error:
            raise StoreError("a stored answer does not open") from error
        return StoredAnswer(answer["request_digest"], status, answer["body"])

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
        """Stores an answer, sealed for its subject. Raises IdempotencyTaken if the key has one already."""
        subject = await self._keys.ids.token(subject_id)
        token = await self._keys.ids.answer_token(scope, key)
        values = {
            "scope": scope,
            "key": token,
            "request_digest": "",
            "subject_id": subject,
            "status": status,
            "body": {},
            "sealed": seal_answer(
                await self._keys.of_subject(subject), scope, token, request_digest=request_digest, body=body
            ),
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
        token = await self._keys.ids.answer_token(scope, key)
        await self._connection.execute(
            delete(idempotency).where(idempotency.c.scope == scope, idempotency.c.key == token)
        )
        await self.put(
            scope, key, request_digest=request_digest, subject_id=subject_id, status=status, body=body
        )

    async def forget_sample(self, subject_id: str, sample_id: str) -> int:
        """Deletes the answers of a subject that describe one of its samples; returns their number.

        Answers that do not open go too: nobody can say what they describe. Raises StoreError.
        """
        subject = await self._keys.ids.token(subject_id)
        owner = await self._keys.of_subject(subject)
        query = select(idempotency.c.scope, idempotency.c.key, idempotency.c.sealed).where(
            idempotency.c.subject_id == subject
        )
        forgotten = 0
        for scope, token, sealed in (await self._connection.execute(query)).all():
            try:
                describes = sample_id.encode() in owner.open(sealed or b"", ANSWER, scope, token)
            except SealBroken:
                describes = True
            if describes:
                place = (idempotency.c.scope == scope) & (idempotency.c.key == token)
                forgotten += (await self._connection.execute(delete(idempotency).where(place))).rowcount
        return forgotten

    async def purge(self, before: datetime) -> int:
        """Deletes answers older than `before` and returns their number."""
        expired = delete(idempotency).where(idempotency.c.created_at < before)
        return (await self._connection.execute(expired)).rowcount
