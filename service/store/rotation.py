"""Changes the master key: a new one wraps the keys of all subjects, while the service goes on.

Every step can be repeated, and what is done already is seen in the source and in the database, so that a
rotation that was killed goes on where it was.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.sealing.keys import KEY_BYTES, MasterKey, MasterKeyError, SealBroken
from service.sealing.sources import MasterKeys
from service.store.database import Database
from service.store.errors import StoreError
from service.store.subject_keys import KEYS_LOCK
from service.store.tables import master_keys, subject_keys
from service.store.upsert import upsert

KEYS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Rotated:
    """`resumed`: the rotation had begun before. `subjects`: keys that this run wrapped anew."""

    master_id: str
    subjects: int
    resumed: bool


async def rotate_master(db: Database, *, pause_s: float = 0.0) -> Rotated:
    """Makes a new master key the current one, wraps every subject's key under it, drops the old one.

    Goes on with a rotation that was interrupted instead of beginning another. With keys that the
    environment gives, the first of them is the new one. `pause_s`: between transactions, for others.
    Raises StoreError, MasterKeyError.
    """
    masters = db.masters
    if masters is None:
        raise StoreError("the database was opened without its master key")
    async with db.read() as uow:
        known = await uow.subject_keys.masters()
        old_left = await _count_under_others(
            uow.connection, [key for key, current in known.items() if current]
        )
    held = await asyncio.to_thread(masters.load)
    if not held:
        raise MasterKeyError(f"{masters.source.where} holds no master key")
    resumed = held[0].key_id not in known or len(held) > 1 or len(known) > 1 or old_left > 0
    if not resumed and masters.source.given:
        raise MasterKeyError(
            f"the first key of {masters.source.where} is the current one: put a new one before it, and"
            " a comma"
        )
    if not resumed:
        held = await _add_key(masters, held)
    new = held[0]
    await _make_current(db, new)
    count = 0
    while wrapped := await _wrap_some(db, new):
        count += wrapped
        await asyncio.sleep(pause_s)
    async with db.write() as uow:
        await uow.connection.execute(delete(master_keys).where(master_keys.c.key_id != new.key_id))
        await uow.commit()
    await _drop_old(masters, held)
    return Rotated(new.key_id, count, resumed)


async def _add_key(masters: MasterKeys, held: list[MasterKey]) -> list[MasterKey]:
    keys = [os.urandom(KEY_BYTES), *(key.raw for key in held)]
    await asyncio.to_thread(masters.source.write, keys)
    return await asyncio.to_thread(masters.load)


async def _drop_old(masters: MasterKeys, held: list[MasterKey]) -> None:
    if len(held) > 1 and not masters.source.given:
        await asyncio.to_thread(masters.source.write, [held[0].raw])
        await asyncio.to_thread(masters.load)


async def _make_current(db: Database, new: MasterKey) -> None:
    """From the commit on no new key is wrapped under an old one: whoever did so held the shared lock."""
    async with db.write() as uow:
        if db.dialect == "postgresql":
            await uow.connection.execute(select(func.pg_advisory_xact_lock(KEYS_LOCK)))
        sealed = select(func.count()).where(master_keys.c.all_sealed.is_(False))
        if (await uow.connection.execute(sealed)).scalar_one():
            raise StoreError(
                "start the service of this release once, so that it seals what is stored in clear"
            )
        await uow.connection.execute(update(master_keys).values(current=False))
        row = {"current": True, "all_sealed": True, "created_at": datetime.now(UTC)}
        made = upsert(uow.connection, master_keys).values(key_id=new.key_id, **row)
        await uow.connection.execute(
            made.on_conflict_do_update(index_elements=["key_id"], set_={"current": True})
        )
        await uow.commit()


async def _wrap_some(db: Database, new: MasterKey) -> int:
    assert db.masters is not None  # noqa: S101 - checked by the caller
    async with db.write() as uow:
        query = (
            select(subject_keys)
            .where(subject_keys.c.master_id != new.key_id)
            .order_by(subject_keys.c.subject_id)
            .limit(KEYS_AT_ONCE)
            .with_for_update()
        )
        rows = (await uow.connection.execute(query)).all()
        for subject_id, key_id, master_id, wrapped in rows:
            try:
                key = db.masters.find(master_id).unwrap(subject_id, key_id, wrapped)
            except SealBroken as error:
                raise StoreError(
                    f"subject key {key_id} does not open, so the old master key must stay: restore it from a"
                    " backup, or erase the subject"
                ) from error
            place = update(subject_keys).where(subject_keys.c.subject_id == subject_id)
            await uow.connection.execute(
                place.values(master_id=new.key_id, wrapped=new.wrap(subject_id, key))
            )
        await uow.commit()
    return len(rows)


async def _count_under_others(connection: AsyncConnection, current: list[str]) -> int:
    query = select(func.count()).select_from(subject_keys).where(subject_keys.c.master_id.not_in(current))
    return int((await connection.execute(query)).scalar_one())
