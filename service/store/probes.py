"""Stores crops of probes for review, each sealed under a key of its own, for a few hours.

The key is wrapped under the master key in the same row, so the row is all that opens it. A row that names
a subject bears the id of the subject's key, and goes when that key does: `UnitOfWork.commit` sees to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.sealing.keys import MasterKeyError, SealBroken, SubjectKey
from service.store.portions import portions
from service.store.subject_keys import SubjectKeys, Unsealed
from service.store.tables import kept_probes

# `named`: shows who matched, or was asked about. `other`: a verification that names nobody.
ProbeState = Literal["named", "unknown", "ignored", "other"]
CROP, FACTS = "probe crop", "probe facts"
_FACTS = select(
    *(kept_probes.c.event_id, kept_probes.c.at, kept_probes.c.space_id, kept_probes.c.state),
    *(kept_probes.c.key_id, kept_probes.c.master_id, kept_probes.c.wrapped, kept_probes.c.facts),
)


def bound_to(event_id: str) -> str:
    """What the wrapped key of a probe is bound to: no subject has such an id."""
    return f"/probe/{event_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProbe:
    """`subject_id`: whom the decision names. `png`: the aligned crop; `facts`: what else is sealed."""

    event_id: str
    at: datetime
    space_id: str
    state: ProbeState
    subject_id: str | None
    png: bytes
    facts: bytes


@dataclass(frozen=True, slots=True)
class KeptProbe:
    """`sealed`: what was asked for, opened: the facts or the crop."""

    event_id: str
    at: datetime
    space_id: str
    state: ProbeState
    sealed: bytes


class Probes:
    """All SQL about kept probes."""

    def __init__(self, connection: AsyncConnection, keys: SubjectKeys, unsealed: Unsealed) -> None:
        self._connection, self._keys, self._unsealed = connection, keys, unsealed

    async def add(self, probe: NewProbe) -> bool:
        """Keeps a probe; false, and nothing is kept, if the subject it names is gone. Raises StoreError."""
        subject_key = None
        if probe.subject_id is not None:
            subject_key = await self._keys.held_key_id(probe.subject_id)
            if subject_key is None:
                return False
        key, master = SubjectKey.new(), await self._keys.current_master()
        await self._connection.execute(
            insert(kept_probes).values(
                event_id=probe.event_id,
                at=probe.at,
                space_id=probe.space_id,
                state=probe.state,
                subject_key_id=subject_key,
                key_id=key.key_id,
                master_id=master.key_id,
                wrapped=master.wrap(bound_to(probe.event_id), key),
                crop=key.seal(probe.png, CROP, probe.event_id),
                facts=key.seal(probe.facts, FACTS, probe.event_id),
            )
        )
        return True

    async def crop(self, event_id: str, since: datetime) -> bytes | None:
        """The crop as PNG; None if there is none that is as young, or it does not open."""
        query = select(kept_probes).where(kept_probes.c.event_id == event_id, kept_probes.c.at >= since)
        row = (await self._connection.execute(query)).first()
        return None if row is None else self._open(row, row.crop, CROP)

    async def there(self, event_ids: Sequence[str], since: datetime) -> set[str]:
        """Those of the probes whose crops are kept, and are as young."""
        found = set[str]()
        for chosen in portions(event_ids):
            query = select(kept_probes.c.event_id).where(
                kept_probes.c.event_id.in_(chosen), kept_probes.c.at >= since
            )
            found |= set((await self._connection.execute(query)).scalars())
        return found

    async def get(self, event_id: str, since: datetime) -> KeptProbe | None:
        """A probe with its facts; None if there is none that is as young, or it does not open."""
        query = _FACTS.where(kept_probes.c.event_id == event_id, kept_probes.c.at >= since)
        return next(iter(self._kept((await self._connection.execute(query)).all())), None)

    async def newest(
        self, space_id: str, states: Sequence[ProbeState], since: datetime, limit: int
    ) -> list[KeptProbe]:
        """Up to `limit` probes of a space with their facts, the newest ones, oldest first."""
        query = (
            _FACTS.where(
                kept_probes.c.space_id == space_id,
                kept_probes.c.state.in_(states),
                kept_probes.c.at >= since,
            )
            .order_by(kept_probes.c.event_id.desc())
            .limit(limit)
        )
        rows = (await self._connection.execute(query)).all()
        # Opening thousands of rows would hold up the event loop.
        return (await asyncio.to_thread(self._kept, rows))[::-1]

    async def set_state(
        self, event_ids: Sequence[str], state: ProbeState, *, subject_id: str | None = None
    ) -> int:
        """Changes what probes are, and whom they name; returns how many were there."""
        subject_key = None if subject_id is None else await self._keys.held_key_id(subject_id)
        changed = 0
        for chosen in portions(event_ids):
            places = update(kept_probes).where(kept_probes.c.event_id.in_(chosen))
            done = await self._connection.execute(places.values(state=state, subject_key_id=subject_key))
            changed += done.rowcount
        return changed

    async def replace_facts(self, event_id: str, facts: bytes) -> bool:
        """Seals other facts of a probe under its own key; false if it is gone or does not open."""
        query = select(kept_probes).where(kept_probes.c.event_id == event_id)
        row = (await self._connection.execute(query)).first()
        if row is None or (key := self._key(row)) is None:
            return False
        changed = update(kept_probes).where(kept_probes.c.event_id == event_id)
        await self._connection.execute(changed.values(facts=key.seal(facts, FACTS, event_id)))
        return True

    async def erase(self, event_ids: Sequence[str]) -> int:
        """Erases these probes, and returns how many were there."""
        erased = 0
        for chosen in portions(event_ids):
            these = delete(kept_probes).where(kept_probes.c.event_id.in_(chosen))
            erased += (await self._connection.execute(these)).rowcount
        return erased

    async def purge(self, before: datetime | None) -> int:
        """Erases the probes that are older, or all, and returns their number."""
        old = delete(kept_probes)
        if before is not None:
            old = old.where(kept_probes.c.at < before)
        return (await self._connection.execute(old)).rowcount

    async def trim(self, most: int) -> int:
        """Erases the oldest probes beyond `most`, and returns their number."""
        first = select(kept_probes.c.event_id).order_by(kept_probes.c.event_id.desc())
        oldest = (await self._connection.execute(first.offset(most - 1).limit(1))).scalar_one_or_none()
        if oldest is None:
            return 0
        done = await self._connection.execute(delete(kept_probes).where(kept_probes.c.event_id < oldest))
        return done.rowcount

    async def erase_of(self, subject_key_ids: Sequence[str]) -> int:
        """Erases the probes that name the owners of these keys, and returns their number."""
        erased = 0
        for chosen in portions(subject_key_ids):
            theirs = delete(kept_probes).where(kept_probes.c.subject_key_id.in_(chosen))
            erased += (await self._connection.execute(theirs)).rowcount
        return erased

    async def count(self) -> int:
        query = select(func.count()).select_from(kept_probes)
        return int((await self._connection.execute(query)).scalar_one())

    def _kept(self, rows: Sequence[Any]) -> list[KeptProbe]:
        """Those of the rows that open."""
        opened = ((row, self._open(row, row.facts, FACTS)) for row in rows)
        return [
            KeptProbe(row.event_id, row.at, row.space_id, row.state, facts)
            for row, facts in opened
            if facts is not None
        ]

    def _open(self, row: Any, sealed: bytes, kind: str) -> bytes | None:
        """None, and the row is refused, if it does not open."""
        if (key := self._key(row)) is None:
            return None
        try:
            return key.open(sealed, kind, row.event_id)
        except SealBroken:
            self._unsealed.refused.add(f"probe {row.event_id}")
            return None

    def _key(self, row: Any) -> SubjectKey | None:
        try:
            master = self._unsealed.masters.find(row.master_id)
            return master.unwrap(bound_to(row.event_id), row.key_id, row.wrapped)
        except (SealBroken, MasterKeyError):
            self._unsealed.refused.add(f"probe {row.event_id}")
            return None
