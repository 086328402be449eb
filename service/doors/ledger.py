"""What the doors read and write in one transaction: the clock, the person, the audit entry, the event."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from service.delivery.outgoing import Outgoing
from service.doors.judging import Presented
from service.live.decisions import Decision
from service.live.door_events import DoorEvent
from service.retention import next_mark
from service.store.database import Database
from service.store.unit import UnitOfWork

ACTOR = "doors"


def audited(event: DoorEvent) -> dict[str, Any]:
    """What the audit log keeps of an event, besides the subject, who has a pseudonym there."""
    return {
        "door": event.door,
        "outcome": event.outcome,
        "reason": event.reason,
        "rule": event.rule,
        "camera": event.camera,
        "decision": event.decision_id,
        "dry_run": event.dry_run,
        "liveness": event.liveness,
    }


async def believed_now(uow: UnitOfWork) -> datetime | None:
    """The time of the database as retention believes it; None while it is doubted, or has gone back.

    Notes nothing: only retention moves its mark.
    """
    last, now = await uow.clock.mark(), await uow.clock.now()
    if last is not None and now < last.seen_at:
        return None
    return now if next_mark(last, now)[1] else None


class Page:
    """One transaction. Nothing of it is stored without `commit`. Every method raises StoreError."""

    def __init__(self, uow: UnitOfWork, outgoing: Outgoing) -> None:
        self._uow, self._outgoing = uow, outgoing

    async def now(self) -> datetime | None:
        return await believed_now(self._uow)

    async def live(self) -> frozenset[str]:
        """The doors that were switched to be live."""
        return await self._uow.door_modes.live()

    async def switch(self, door: str, *, live: bool, actor: str) -> None:
        """Switches a door, with its audit entry."""
        await self._uow.door_modes.switch(door, live=live, actor=actor)
        await self._uow.audit.add(actor, "door.switch", None, {"door": door, "dry_run": not live})

    async def presented(self, decision: Decision) -> Presented:
        """The person of a decision, as the database knows them now."""
        named = decision.subject if decision.decision == "match" else None
        found = None if named is None else await self._uow.subjects.get(named.subject_id)
        picture = decision.picture
        return Presented(
            subject_id=None if named is None else named.subject_id,
            known=found is not None,
            metadata={} if found is None else found.metadata,
            camera=decision.camera or "",
            key_id=decision.actor,
            masks=picture.mask.possible,
            spectrum="nir" if picture.spectrum.value == "nir" else "vis",
            quality=picture.quality.score,
            fmr=decision.rule.target_fmr,
            liveness=decision.liveness,
            votes=None if decision.track is None else (decision.track.votes.agree, decision.track.votes.of),
        )

    async def write(self, event: DoorEvent, actor: str) -> None:
        """Adds the audit entry, and the event for its receivers."""
        subject_id = None if event.subject is None else event.subject.subject_id
        await self._uow.audit.add(actor, "door", subject_id, audited(event))
        await self._outgoing.store(self._uow, [event])

    async def commit(self) -> None:
        await self._uow.commit()
        self._outgoing.wake()


class DoorLedger:
    def __init__(self, db: Database, outgoing: Outgoing) -> None:
        self._db, self._outgoing = db, outgoing

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """Raises StoreError."""
        async with self._db.write() as uow:
            yield Page(uow, self._outgoing)

    async def live(self) -> frozenset[str]:
        """The doors that were switched to be live. Raises StoreError."""
        async with self._db.read() as uow:
            return await uow.door_modes.live()

    async def forget(self, doors: Sequence[str]) -> None:
        """Forgets that these doors were ever switched. Raises StoreError."""
        async with self._db.write() as uow:
            await uow.door_modes.forget(doors)
            await uow.commit()

    async def write(self, event: DoorEvent, actor: str = ACTOR) -> None:
        """Writes one event by itself. Raises StoreError."""
        async with self.page() as page:
            await page.write(event, actor)
            await page.commit()
