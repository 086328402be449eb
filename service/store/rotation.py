"""Changes the master key: a new one wraps the keys of all subjects, while the service goes on.

Every step can be repeated, and what is done already is seen in the source and in the database, so that a
rotation that was killed goes on where it was.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Table, delete, func, select, update

from service.sealing.keys import KEY_BYTES, MasterKey, MasterKeyError, SealBroken
from service.sealing.sources import MasterKeys
from service.store.database import Database
from service.store.errors import StoreError
from service.store.locks import advisory_lock
from service.store.outbox import bound_to_event
from service.store.probes import bound_to
from service.store.subject_keys import KEYS_LOCK
from service.store.tables import (
    kept_probes,
    master_keys,
    snapshot_keys,
    subject_keys,
    track_answers,
    webhook_outbox,
)
from service.store.track_answers import bound_to_answer
from service.store.upsert import upsert

KEYS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Rotated:
    """`resumed`: the rotation had begun before. `subjects`, `probes`, `events` of webhooks, `answers`
    about tracks: keys of these that this run wrapped anew."""

    master_id: str
    subjects: int
    resumed: bool
    probes: int = 0
    events: int = 0
    answers: int = 0


async def rotate_master(db: Database, *, pause_s: float = 0.0, at_once: int = KEYS_AT_ONCE) -> Rotated:
    """Makes a new master key the current one, wraps every subject's key under it, drops the old one.

    Goes on with a rotation that was interrupted instead of beginning another. With keys that the
    environment gives, the first of them is the new one. `pause_s`: between transactions, for
    others; `at_once`: keys in one of them.
    Raises StoreError, MasterKeyError.
    """
    new, resumed = await _begin(db)
    count = 0
    while wrapped := await _wrap_some(db, new, at_once):
        count += wrapped
        await asyncio.sleep(pause_s)
    probes = 0
    while wrapped := await _wrap_rows(db, kept_probes, bound_to, new, at_once):
        probes += wrapped
        await asyncio.sleep(pause_s)
    events = 0
    while wrapped := await _wrap_rows(db, webhook_outbox, bound_to_event, new, at_once):
        events += wrapped
        await asyncio.sleep(pause_s)
    answers = 0
    while wrapped := await _wrap_rows(db, track_answers, bound_to_answer, new, at_once):
        answers += wrapped
        await asyncio.sleep(pause_s)
    await _end(db, new)
    return Rotated(new.key_id, count, resumed, probes, events, answers)


async def _begin(db: Database) -> tuple[MasterKey, bool]:
    """Makes the new key the current one; returns it, and whether a rotation had begun before.

    The lock keeps other rotations, and whoever wraps a new key, away until the transaction ends: from the
    commit on no new key is wrapped under an old one.
    """
    masters = _masters(db)
    async with db.write() as uow:
        await advisory_lock(uow.connection, KEYS_LOCK)
        clear = select(func.count()).where(master_keys.c.all_sealed.is_(False))
        if (await uow.connection.execute(clear)).scalar_one():
            raise StoreError("it holds clear rows of an older release: start the service once, to seal them")
        known, held = await uow.subject_keys.masters(), masters.load()
        if not held:
            raise MasterKeyError(f"{masters.source.where} holds no master key")
        resumed = len(known) > 1 or (not masters.source.given and len(held) > 1)
        if not resumed and held[0].key_id in known:
            if masters.source.given:
                raise MasterKeyError(
                    f"the first key of {masters.source.where} is the current one: put a new one before it,"
                    " and a comma"
                )
            # The file comes first: a database that names a key must find it there.
            masters.source.write([os.urandom(KEY_BYTES), *(key.raw for key in held)])
            held = masters.load()
        await uow.connection.execute(update(master_keys).values(current=False))
        row = {"current": True, "all_sealed": True, "created_at": datetime.now(UTC)}
        made = upsert(uow.connection, master_keys).values(key_id=held[0].key_id, **row)
        await uow.connection.execute(
            made.on_conflict_do_update(index_elements=["key_id"], set_={"current": True})
        )
        await uow.subject_keys.ids.rewrap(held[0])
        await uow.commit()
    return held[0], resumed


async def _end(db: Database, new: MasterKey) -> None:
    """Forgets the old keys, first in the database."""
    masters = _masters(db)
    async with db.write() as uow:
        await advisory_lock(uow.connection, KEYS_LOCK)
        # Snapshots are made anew, so that no copy of one opens with a key of before.
        await uow.connection.execute(delete(snapshot_keys).where(snapshot_keys.c.master_id != new.key_id))
        await uow.connection.execute(delete(master_keys).where(master_keys.c.key_id != new.key_id))
        await uow.commit()
    async with db.write() as uow:
        await advisory_lock(uow.connection, KEYS_LOCK)
        held = masters.load()
        known = await uow.subject_keys.masters()
        kept = [key.raw for key in held if key.key_id in known]
        if not masters.source.given and kept and len(kept) < len(held):
            masters.source.write(kept)
            masters.load()


def _masters(db: Database) -> MasterKeys:
    if db.masters is None:
        raise StoreError("the database was opened without its master key")
    return db.masters


async def _wrap_some(db: Database, new: MasterKey, at_once: int) -> int:
    masters = _masters(db)
    async with db.write() as uow:
        query = (
            select(subject_keys)
            .where(subject_keys.c.master_id != new.key_id)
            .order_by(subject_keys.c.subject_id)
            .limit(at_once)
            .with_for_update()
        )
        rows = (await uow.connection.execute(query)).all()
        for token, key_id, master_id, wrapped in rows:
            try:
                key = masters.find(master_id).unwrap(token, key_id, wrapped)
            except SealBroken as error:
                raise StoreError(
                    f"subject key {key_id} does not open, so the old master key must stay: restore it from a"
                    f" backup, or erase the subject (`halflight erase '{token}'`)"
                ) from error
            place = update(subject_keys).where(subject_keys.c.subject_id == token)
            await uow.connection.execute(place.values(master_id=new.key_id, wrapped=new.wrap(token, key)))
        await uow.commit()
    return len(rows)


async def _wrap_rows(
    db: Database, table: Table, bound: Callable[[str], str], new: MasterKey, at_once: int
) -> int:
    """Wraps the keys of some rows anew, each `bound` to its event; those that do not open are erased, they
    open for nobody."""
    masters = _masters(db)
    async with db.write() as uow:
        query = (
            select(table.c.event_id, table.c.key_id, table.c.master_id, table.c.wrapped)
            .where(table.c.master_id != new.key_id)
            .order_by(table.c.event_id)
            .limit(at_once)
            .with_for_update()
        )
        rows = (await uow.connection.execute(query)).all()
        for event_id, key_id, master_id, wrapped in rows:
            place = bound(event_id)
            try:
                key = masters.find(master_id).unwrap(place, key_id, wrapped)
            except (SealBroken, MasterKeyError):
                await uow.connection.execute(delete(table).where(table.c.event_id == event_id))
                continue
            changed = update(table).where(table.c.event_id == event_id)
            values = {"master_id": new.key_id, "wrapped": new.wrap(place, key)}
            await uow.connection.execute(changed.values(**values))
        await uow.commit()
    return len(rows)
