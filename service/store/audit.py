"""Stores the audit log: a hash chain of entries in which subjects have pseudonyms.

A pseudonym is HMAC-SHA256 under a random secret of the subject, which lies sealed under the subject's
key. Both go with the subject, and nothing then says whom its entries are about, no journal and no old
copy of the row either; the entries stay, and the chain still verifies.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.sealing.keys import SealBroken, SubjectKey
from service.store.audit_chain import Head, entry_digest
from service.store.locks import advisory_lock
from service.store.portions import portions
from service.store.records import AuditCheckpoint, AuditEntry, AuditEvent, AuditFilter
from service.store.subject_keys import SubjectKeys
from service.store.tables import audit_checkpoints, audit_log, audit_subjects, subjects
from service.store.upsert import upsert

# PostgreSQL's advisory lock on the head of the chain. Taken last, in `write`, right before the commit.
AUDIT_LOCK = 0x48A21
SECRET_BYTES = 32
SEALED = "audit name"


def pseudonym(secret: bytes) -> str:
    """Computes the name of a subject in the audit log from its secret, hexadecimal."""
    return hmac.new(secret, b"halflight audit 1", hashlib.sha256).hexdigest()[:32]


def _opened(key: SubjectKey | None, secret: bytes) -> bytes | None:
    """The secret of a subject; None if it does not open: then the log has no name for the subject."""
    if len(secret) == SECRET_BYTES:
        return secret
    try:
        return None if key is None else key.open(secret, SEALED)
    except SealBroken:
        return None


@dataclass(slots=True, eq=False)
class Pending:
    """An entry of this transaction. `audit_id`: its number, once the transaction was committed."""

    at: datetime
    actor: str
    action: str
    subject: str | None
    detail: dict[str, Any]
    audit_id: int = 0


class Audit:
    """All SQL about the audit log. Nothing changes an entry; only `remove_to` removes any, the oldest."""

    def __init__(self, connection: AsyncConnection, keys: SubjectKeys) -> None:
        self._connection, self._keys = connection, keys
        self._pending: list[Pending] = []

    async def names_of(self, subject_ids: Iterable[str]) -> dict[str, str]:
        """Maps each subject that exists to its pseudonym; makes the secrets that are missing."""
        given = await self._keys.ids.tokens(set(subject_ids))
        found: dict[str, str] = {}
        for chosen in portions(sorted(given)):
            found |= await self._names_of(chosen)
        return {given[token]: name for token, name in found.items()}

    async def find_name(self, subject_id: str) -> str | None:
        """Returns the pseudonym of a subject; None if it has none. Only reads."""
        token = await self._keys.ids.token(subject_id)
        return (await self._known_names([token])).get(token)

    async def secrets_of(self, subject_ids: Sequence[str]) -> dict[str, bytes]:
        """The secrets of those subjects that have one, for a backup."""
        given = await self._keys.ids.tokens(subject_ids)
        query = select(audit_subjects).where(audit_subjects.c.subject_id.in_(list(given)))
        rows = (await self._connection.execute(query)).all()
        keys = await self._keys.of_subjects([token for token, _ in rows])
        opened = ((token, _opened(keys.get(token), secret)) for token, secret in rows)
        return {given[token]: secret for token, secret in opened if secret is not None}

    async def set_secret(self, subject_id: str, secret: bytes) -> None:
        """Gives a subject that has none yet the secret of its name: one that is restored or was made here.
        Raises StoreError."""
        token = await self._keys.ids.token(subject_id)
        sealed = (await self._keys.of_subject(token)).seal(secret, SEALED)
        await self._connection.execute(insert(audit_subjects).values(subject_id=token, secret=sealed))

    async def written_names(self, names: Sequence[str]) -> set[str]:
        """Which of these names entries bear, whether their subjects are there or were erased."""
        found = set[str]()
        for chosen in portions(sorted(names)):
            query = select(audit_log.c.subject).where(audit_log.c.subject.in_(chosen)).distinct()
            found.update((await self._connection.execute(query)).scalars())
        return found

    async def clear_secrets(self, after: str, limit: int) -> list[str]:
        """Tokens after this one whose secret lies in clear, as releases up to 0.6.0 kept it."""
        query = (
            select(audit_subjects.c.subject_id)
            .where(audit_subjects.c.subject_id > after, func.length(audit_subjects.c.secret) == SECRET_BYTES)
            .order_by(audit_subjects.c.subject_id)
            .limit(limit)
        )
        return list((await self._connection.execute(query)).scalars())

    async def restore(self, entries: Sequence[AuditEntry]) -> None:
        """Inserts entries of a backup as they were, into a log that is empty or ends before them."""
        rows = [{name: getattr(entry, name) for name in AuditEntry.__slots__} for entry in entries]
        if rows:
            await self._connection.execute(insert(audit_log), rows)

    async def add(
        self,
        actor: str,
        action: str,
        subject_id: str | None,
        detail: dict[str, Any],
        *,
        name: str | None = None,
    ) -> Pending:
        """Adds an entry, which the commit of this unit of work writes.

        `name`: the pseudonym of a subject that this transaction has erased, from `names_of` before.
        """
        if name is None and subject_id is not None:
            name = (await self.names_of([subject_id])).get(subject_id)
        entry = Pending(datetime.now(UTC), actor, action, name, detail)
        self._pending.append(entry)
        return entry

    async def extend(self, events: Sequence[AuditEvent]) -> None:
        """Adds entries of events that changed nothing, each with the time at which it happened.

        A subject that was erased since has no name in them.
        """
        ids = {event.subject_id for event in events if event.subject_id is not None}
        ids |= {candidate.subject_id for event in events for candidate in event.candidates}
        names = await self.names_of(ids)
        for event in events:
            detail = dict(event.detail)
            if event.candidates:
                detail["candidates"] = [
                    {"subject": names.get(one.subject_id), "score": one.score, "accepted": one.accepted}
                    for one in event.candidates
                ]
            name = None if event.subject_id is None else names.get(event.subject_id)
            self._pending.append(Pending(event.at, event.actor, event.action, name, detail))

    async def write(self) -> None:
        """Chains the entries of this transaction to the head. `UnitOfWork.commit` calls it last.

        On PostgreSQL it takes a lock until the transaction ends, so that no two entries follow one.
        """
        if not self._pending:
            return
        await advisory_lock(self._connection, AUDIT_LOCK)
        head, rows = await self.head(), []
        for entry in self._pending:
            entry.audit_id = head.audit_id + 1
            content: dict[str, Any] = {
                "audit_id": entry.audit_id,
                "at": entry.at,
                "actor": entry.actor,
                "action": entry.action,
                "subject": entry.subject,
                "detail": entry.detail,
            }
            digest = entry_digest(head.digest, **content)
            rows.append(content | {"prev": head.digest, "digest": digest})
            head = Head(entry.audit_id, digest)
        await self._connection.execute(insert(audit_log), rows)
        self._pending.clear()

    async def freeze(self) -> None:
        """Lets this transaction see the log as it is now until it ends. Call it first."""
        if self._connection.dialect.name == "postgresql":
            await self._connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))

    async def head(self) -> Head:
        """Returns the last entry, or the one that the last checkpoint ends with, or the genesis."""
        newest = select(audit_log.c.audit_id, audit_log.c.digest).order_by(audit_log.c.audit_id.desc())
        row = (await self._connection.execute(newest.limit(1))).first()
        if row is not None:
            return Head(*row)
        last = await self.checkpoint()
        return Head() if last is None else Head(last.audit_id, last.digest)

    async def page(
        self, before: int | None, limit: int, wanted: AuditFilter | None = None
    ) -> list[AuditEntry]:
        """Returns up to `limit` entries older than entry `before`, newest first."""
        query = select(audit_log).order_by(audit_log.c.audit_id.desc()).limit(limit)
        if before is not None:
            query = query.where(audit_log.c.audit_id < before)
        for column, value in (
            (audit_log.c.actor, wanted and wanted.actor),
            (audit_log.c.action, wanted and wanted.action),
            (audit_log.c.subject, wanted and wanted.subject),
        ):
            if value is not None:
                query = query.where(column == value)
        if wanted is not None and wanted.since is not None:
            query = query.where(audit_log.c.at >= wanted.since)
        if wanted is not None and wanted.until is not None:
            query = query.where(audit_log.c.at < wanted.until)
        return [AuditEntry(*row) for row in await self._connection.execute(query)]

    async def after(self, audit_id: int, limit: int) -> list[AuditEntry]:
        """Returns up to `limit` entries newer than this one, oldest first."""
        query = (
            select(audit_log)
            .where(audit_log.c.audit_id > audit_id)
            .order_by(audit_log.c.audit_id)
            .limit(limit)
        )
        return [AuditEntry(*row) for row in await self._connection.execute(query)]

    async def last_before(self, moment: datetime) -> Head | None:
        """Returns the end of the oldest entries that all happened before `moment`; None if there is none."""
        newer = select(func.min(audit_log.c.audit_id)).where(audit_log.c.at >= moment).scalar_subquery()
        query = (
            select(audit_log.c.audit_id, audit_log.c.digest)
            .where(audit_log.c.at < moment, audit_log.c.audit_id < func.coalesce(newer, 2**62))
            .order_by(audit_log.c.audit_id.desc())
            .limit(1)
        )
        row = (await self._connection.execute(query)).first()
        return Head(*row) if row else None

    async def remove_to(self, checkpoint: AuditCheckpoint) -> int:
        """Removes the entries up to a checkpoint, stores the checkpoint, returns the number removed."""
        old = delete(audit_log).where(audit_log.c.audit_id <= checkpoint.audit_id)
        removed = (await self._connection.execute(old)).rowcount
        await self.keep_checkpoint(checkpoint)
        return removed

    async def keep_checkpoint(self, checkpoint: AuditCheckpoint) -> None:
        """Stores a checkpoint."""
        await self._connection.execute(
            insert(audit_checkpoints).values(
                audit_id=checkpoint.audit_id,
                digest=checkpoint.digest,
                made_at=checkpoint.made_at,
                public_key=checkpoint.public_key,
                signature=checkpoint.signature,
            )
        )

    async def checkpoint(self) -> AuditCheckpoint | None:
        """Returns the newest checkpoint, after which the kept entries begin; None if all are kept."""
        query = select(audit_checkpoints).order_by(audit_checkpoints.c.audit_id.desc()).limit(1)
        row = (await self._connection.execute(query)).first()
        return AuditCheckpoint(*row) if row else None

    async def seal_secret(self, token: str, key: SubjectKey) -> None:
        """Seals the secret that an older release kept in clear, so that the subject keeps its name."""
        query = select(audit_subjects.c.secret).where(audit_subjects.c.subject_id == token)
        secret = (await self._connection.execute(query)).scalar_one_or_none()
        if secret is not None and len(secret) == SECRET_BYTES:
            kept = update(audit_subjects).where(audit_subjects.c.subject_id == token)
            await self._connection.execute(kept.values(secret=key.seal(secret, SEALED)))

    async def _known_names(self, tokens: Sequence[str]) -> dict[str, str]:
        known = await self.secrets_of(tokens)
        return {token: pseudonym(secret) for token, secret in known.items()}

    async def _names_of(self, tokens: Sequence[str]) -> dict[str, str]:
        names = await self._known_names(tokens)
        lacking = [token for token in tokens if token not in names]
        if not lacking:
            return names
        # The lock keeps the subject until this transaction ends: its secret refers to it.
        existing = (
            select(subjects.c.subject_id)
            .where(subjects.c.subject_id.in_(lacking))
            .order_by(subjects.c.subject_id)
            .with_for_update(read=True, key_share=True)
        )
        found = [row[0] for row in (await self._connection.execute(existing)).all()]
        keys = await self._keys.of_subjects(found)
        made = [
            {"subject_id": token, "secret": key.seal(secrets.token_bytes(SECRET_BYTES), SEALED)}
            for token, key in keys.items()
        ]
        if not made:
            return names
        inserted = upsert(self._connection, audit_subjects).on_conflict_do_nothing(
            index_elements=["subject_id"]
        )
        await self._connection.execute(inserted, made)
        # Read back: another transaction may have been first.
        return names | await self._known_names(lacking)
