"""Stores events until a webhook receiver confirms them, each sealed under a key of its own.

A row that names a subject bears the id of the subject's key, and goes when that key does, as a kept probe
does: `UnitOfWork.commit` sees to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.sealing.keys import MasterKeyError, SealBroken, SubjectKey
from service.store.portions import portions
from service.store.subject_keys import SubjectKeys, Unsealed
from service.store.tables import webhook_outbox

BODY = "webhook event"
MAX_ERROR = 200


def bound_to_event(event_id: str) -> str:
    """What the wrapped key of an event is bound to: no subject has such an id."""
    return f"/webhook/{event_id}"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """`subject_id`: whom it names; `body`: what is sent, in clear."""

    event_id: str
    at: datetime
    subject_id: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class DueEvent:
    """`attempts`: that were made before."""

    event_id: str
    body: bytes
    attempts: int


@dataclass(frozen=True, slots=True)
class DeadEvent:
    """An event that is tried no more. `last_error`: why the last attempt failed."""

    event_id: str
    at: datetime
    attempts: int
    last_error: str


class Outbox:
    """All SQL about undelivered events. `due_at` is null for one that is tried no more."""

    def __init__(self, connection: AsyncConnection, keys: SubjectKeys, unsealed: Unsealed) -> None:
        self._connection, self._keys, self._unsealed = connection, keys, unsealed

    async def add(self, event: NewEvent) -> None:
        """Keeps an event, unless the subject it names is gone. Raises StoreError."""
        subject_key = None
        if event.subject_id is not None:
            subject_key = await self._keys.held_key_id(event.subject_id)
            if subject_key is None:
                return
        key, master = SubjectKey.new(), await self._keys.current_master()
        await self._connection.execute(
            insert(webhook_outbox).values(
                event_id=event.event_id,
                at=event.at,
                subject_key_id=subject_key,
                key_id=key.key_id,
                master_id=master.key_id,
                wrapped=master.wrap(bound_to_event(event.event_id), key),
                body=key.seal(event.body, BODY, event.event_id),
                attempts=0,
                due_at=event.at,
                last_error="",
            )
        )

    async def claim(self, now: datetime, until: datetime, limit: int) -> list[DueEvent]:
        """Takes up to `limit` due events, oldest first, which are not due for others before `until`.

        A row that does not open is tried no more.
        """
        query = (
            select(webhook_outbox)
            .where(webhook_outbox.c.due_at <= now)
            .order_by(webhook_outbox.c.event_id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        found = []
        for row in (await self._connection.execute(query)).all():
            body = self._open(row)
            due = None if body is None else until
            error = "the event does not open" if body is None else row.last_error
            await self._change(row.event_id, due_at=due, last_error=error)
            if body is not None:
                found.append(DueEvent(row.event_id, body, row.attempts))
        return found

    async def is_due(self, now: datetime) -> bool:
        """Whether any event is due; takes nothing."""
        query = select(webhook_outbox.c.event_id).where(webhook_outbox.c.due_at <= now).limit(1)
        return (await self._connection.execute(query)).first() is not None

    async def confirm(self, event_id: str) -> None:
        """Forgets a delivered event."""
        await self._connection.execute(delete(webhook_outbox).where(webhook_outbox.c.event_id == event_id))

    async def fail(self, event_id: str, error: str, due_at: datetime | None) -> None:
        """Notes a failed attempt. `due_at`: when the next one is made; None: never."""
        await self._change(
            event_id,
            attempts=webhook_outbox.c.attempts + 1,
            due_at=due_at,
            last_error=error[:MAX_ERROR],
        )

    async def replay(self, event_ids: Sequence[str] | None, now: datetime) -> int:
        """Makes events that are tried no more due again, these or all; returns how many."""
        changed = 0
        dead = update(webhook_outbox).where(webhook_outbox.c.due_at.is_(None))
        again = {"due_at": now, "attempts": 0}
        if event_ids is None:
            return (await self._connection.execute(dead.values(again))).rowcount
        for chosen in portions(event_ids):
            some = dead.where(webhook_outbox.c.event_id.in_(chosen))
            changed += (await self._connection.execute(some.values(again))).rowcount
        return changed

    async def dead(self, limit: int) -> list[DeadEvent]:
        """The oldest events that are tried no more."""
        columns = (webhook_outbox.c.event_id, webhook_outbox.c.at, webhook_outbox.c.attempts)
        query = (
            select(*columns, webhook_outbox.c.last_error)
            .where(webhook_outbox.c.due_at.is_(None))
            .order_by(webhook_outbox.c.event_id)
            .limit(limit)
        )
        return [DeadEvent(*row) for row in await self._connection.execute(query)]

    async def count(self) -> tuple[int, int]:
        """How many events wait, and how many are tried no more."""
        query = select(func.count(), func.count(webhook_outbox.c.due_at)).select_from(webhook_outbox)
        every, waiting = (await self._connection.execute(query)).one()
        return int(waiting), int(every) - int(waiting)

    async def erase_of(self, subject_key_ids: Sequence[str]) -> None:
        """Erases the events that name the owners of these keys."""
        for chosen in portions(subject_key_ids):
            theirs = webhook_outbox.c.subject_key_id.in_(chosen)
            await self._connection.execute(delete(webhook_outbox).where(theirs))

    async def _change(self, event_id: str, **values: Any) -> None:
        place = update(webhook_outbox).where(webhook_outbox.c.event_id == event_id)
        await self._connection.execute(place.values(**values))

    def _open(self, row: Any) -> bytes | None:
        try:
            key = self._unsealed.masters.find(row.master_id).unwrap(
                bound_to_event(row.event_id), row.key_id, row.wrapped
            )
            return key.open(row.body, BODY, row.event_id)
        except (SealBroken, MasterKeyError):
            self._unsealed.refused.add(f"webhook event {row.event_id}")
            return None
