"""Stores events until every receiver has confirmed them, each sealed under a key of its own.

An event lies there once, with a delivery for each receiver that has not confirmed it. A row that names a
subject bears the id of the subject's key, and goes when that key does, as a kept probe does, with its
deliveries: `UnitOfWork.commit` sees to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.sealing.keys import MasterKeyError, SealBroken, SubjectKey
from service.store.portions import portions
from service.store.subject_keys import SubjectKeys, Unsealed
from service.store.tables import outbox_deliveries, webhook_outbox

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
    """An event that a receiver is sent no more. `last_error`: why the last attempt failed."""

    event_id: str
    receiver: str
    at: datetime
    attempts: int
    last_error: str


@dataclass(frozen=True, slots=True)
class Undelivered:
    """How many events wait for a receiver, and how many are tried no more."""

    waiting: int
    dead: int


class Outbox:
    """All SQL about undelivered events. `due_at` is null for one that is tried no more."""

    def __init__(self, connection: AsyncConnection, keys: SubjectKeys, unsealed: Unsealed) -> None:
        self._connection, self._keys, self._unsealed = connection, keys, unsealed

    async def add(self, event: NewEvent, receivers: Sequence[str]) -> None:
        """Keeps an event for these, unless the subject it names is gone. Raises StoreError."""
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
            )
        )
        empty = {"event_id": event.event_id, "attempts": 0, "due_at": event.at, "last_error": ""}
        await self._connection.execute(
            insert(outbox_deliveries), [empty | {"receiver": name} for name in receivers]
        )

    async def claim(self, receiver: str, now: datetime, until: datetime, limit: int) -> list[DueEvent]:
        """Takes up to `limit` events due for a receiver, oldest first, which are not due for others before
        `until`.

        A row that does not open is tried no more.
        """
        query = (
            select(webhook_outbox, outbox_deliveries.c.attempts, outbox_deliveries.c.last_error)
            .join(outbox_deliveries, outbox_deliveries.c.event_id == webhook_outbox.c.event_id)
            .where(_of(receiver), outbox_deliveries.c.due_at <= now)
            .order_by(webhook_outbox.c.event_id)
            .limit(limit)
            .with_for_update(skip_locked=True, of=outbox_deliveries)
        )
        found = []
        for row in (await self._connection.execute(query)).all():
            body = self._open(row)
            due = None if body is None else until
            error = "the event does not open" if body is None else row.last_error
            await self._change(receiver, row.event_id, due_at=due, last_error=error)
            if body is not None:
                found.append(DueEvent(row.event_id, body, row.attempts))
        return found

    async def next_due(self, receiver: str) -> datetime | None:
        """When the next event is due for a receiver; None if none will be. Takes nothing."""
        query = select(func.min(outbox_deliveries.c.due_at)).where(_of(receiver))
        due: datetime | None = (await self._connection.execute(query)).scalar_one()
        return due

    async def confirm(self, receiver: str, event_id: str) -> None:
        """Forgets a delivery, and the event with the last of them."""
        # The lock: two that confirm at once would each see the other's delivery, and leave the event.
        held = select(webhook_outbox.c.event_id).where(webhook_outbox.c.event_id == event_id)
        await self._connection.execute(held.with_for_update())
        theirs = outbox_deliveries.c.event_id == event_id
        await self._connection.execute(delete(outbox_deliveries).where(_of(receiver), theirs))
        await self._connection.execute(
            delete(webhook_outbox).where(webhook_outbox.c.event_id == event_id, ~_wanted())
        )

    async def fail(self, receiver: str, event_id: str, error: str, due_at: datetime | None) -> None:
        """Notes a failed attempt. `due_at`: when the next one is made; None: never."""
        await self._change(
            receiver,
            event_id,
            attempts=outbox_deliveries.c.attempts + 1,
            due_at=due_at,
            last_error=error[:MAX_ERROR],
        )

    async def replay(self, event_ids: Sequence[str] | None, receiver: str | None, now: datetime) -> int:
        """Makes deliveries that are tried no more due again, these or all, of one receiver or all; returns
        how many."""
        changed = 0
        dead = update(outbox_deliveries).where(outbox_deliveries.c.due_at.is_(None))
        if receiver is not None:
            dead = dead.where(_of(receiver))
        again = {"due_at": now, "attempts": 0}
        if event_ids is None:
            return (await self._connection.execute(dead.values(again))).rowcount
        for chosen in portions(event_ids):
            some = dead.where(outbox_deliveries.c.event_id.in_(chosen))
            changed += (await self._connection.execute(some.values(again))).rowcount
        return changed

    async def dead(self, limit: int) -> list[DeadEvent]:
        """The oldest deliveries that are tried no more."""
        one = outbox_deliveries.c
        query = (
            select(one.event_id, one.receiver, webhook_outbox.c.at, one.attempts, one.last_error)
            .join(webhook_outbox, webhook_outbox.c.event_id == one.event_id)
            .where(one.due_at.is_(None))
            .order_by(one.event_id, one.receiver)
            .limit(limit)
        )
        return [DeadEvent(*row) for row in await self._connection.execute(query)]

    async def count(self) -> dict[str, Undelivered]:
        """What every receiver has not confirmed, by its name; nothing of one that has confirmed all."""
        one = outbox_deliveries.c
        query = select(one.receiver, func.count(), func.count(one.due_at)).group_by(one.receiver)
        found = {}
        for receiver, every, waiting in await self._connection.execute(query):
            found[str(receiver)] = Undelivered(int(waiting), int(every) - int(waiting))
        return found

    async def expire(self, before: datetime) -> int:
        """Erases events that are older and that some receiver has not confirmed; returns how many."""
        return (
            await self._connection.execute(delete(webhook_outbox).where(webhook_outbox.c.at < before))
        ).rowcount

    async def erase_of(self, subject_key_ids: Sequence[str]) -> None:
        """Erases the events that name the owners of these keys, for every receiver."""
        for chosen in portions(subject_key_ids):
            theirs = webhook_outbox.c.subject_key_id.in_(chosen)
            await self._connection.execute(delete(webhook_outbox).where(theirs))

    async def _change(self, receiver: str, event_id: str, **values: Any) -> None:
        place = update(outbox_deliveries).where(_of(receiver), outbox_deliveries.c.event_id == event_id)
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


def _of(receiver: str) -> ColumnElement[bool]:
    return outbox_deliveries.c.receiver == receiver


def _wanted() -> ColumnElement[bool]:
    """Whether any receiver has still to get an event."""
    return exists().where(outbox_deliveries.c.event_id == webhook_outbox.c.event_id)
