"""Puts tokens in the place of ids that releases up to 0.6.0 stored in clear: once, at the start.

Each transaction moves some subjects with all that refers to them, so a kill leaves every subject wholly
under its token or wholly under its id, and the next start goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy import bindparam, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.sealing.keys import MasterKey, SealBroken, SubjectKey
from service.sealing.tokens import MARK, IdKey
from service.store.access import seal_answer
from service.store.database import MIGRATION_LOCK, Database
from service.store.locks import advisory_lock
from service.store.resealing import ANSWER
from service.store.subject_ids import seal_id
from service.store.subjects import REFERENCES
from service.store.tables import id_keys, idempotency, subject_keys, subjects
from service.store.unit import UnitOfWork

log = structlog.get_logger("halflight.store")

SUBJECTS_AT_ONCE = 200
MARKED = f"{MARK}%"


async def begin_hiding(db: Database) -> bool:
    """Whether ids of an older release lie in clear; this process may then work with tokens and ids mixed.

    Raises StoreError.
    """
    async with db.read() as uow:
        await uow.subject_keys.ids.key(upgrading=True)
        query = select(id_keys.c.all_hidden)
        return not (await uow.connection.execute(query)).scalar_one()


async def hide_clear_ids(db: Database) -> int:
    """Hides the ids of all subjects that have a key; returns their number. Raises StoreError."""
    done = 0
    while count := await _hide_some(db):
        done += count
        log.info("hiding ids that an older release stored in clear", subjects=done)
    return done


async def end_hiding(db: Database) -> None:
    """Notes that no id is left in clear. Raises StoreError."""
    async with db.write() as uow:
        await uow.connection.execute(update(id_keys).values(all_hidden=True))
        await uow.commit()


async def remove_clear_answers(uow: UnitOfWork) -> int:
    """Removes stored answers that nobody can ask for any more: their subject is gone, or they do not open."""
    clear = or_(~idempotency.c.key.like(MARKED), ~idempotency.c.subject_id.like(MARKED))
    return (await uow.connection.execute(delete(idempotency).where(clear))).rowcount


async def move_subjects(connection: AsyncConnection, tokens: Mapping[str, str]) -> None:
    """Moves subjects, and every row that refers to them, from their ids to these tokens."""
    here = subjects.c.subject_id.in_(list(tokens))
    rows = (await connection.execute(select(subjects).where(here))).mappings().all()
    if not rows:
        return
    moved = [{**row, "subject_id": tokens[row["subject_id"]]} for row in rows]
    await connection.execute(insert(subjects), moved)
    pairs = [{"old": row["subject_id"], "new": tokens[row["subject_id"]]} for row in rows]
    for column in (*REFERENCES, idempotency.c.subject_id):
        place = update(column.table).where(column == bindparam("old"))
        await connection.execute(place.values({column.name: bindparam("new")}), pairs)
    await connection.execute(delete(subjects).where(here))


async def _hide_some(db: Database) -> int:
    async with db.write() as uow:
        await advisory_lock(uow.connection, MIGRATION_LOCK)
        ids, master = await uow.subject_keys.ids.key(), await uow.subject_keys.current_master()
        query = (
            select(subject_keys)
            .join(subjects, subjects.c.subject_id == subject_keys.c.subject_id)
            .where(subjects.c.subject_id < MARK)
            .order_by(subjects.c.subject_id)
            .limit(SUBJECTS_AT_ONCE)
            .with_for_update(of=subject_keys)
        )
        rows = (await uow.connection.execute(query)).all()
        keys = {row.subject_id: uow.subject_keys.unwrap_clear(*row) for row in rows}
        tokens = {subject_id: ids.token(subject_id) for subject_id in keys}
        await _hide_answers(uow.connection, ids, keys)
        await move_subjects(uow.connection, tokens)
        # A key that does not open stays as it is: its subject is refused, and found by its id alone.
        opened = {subject_id: key for subject_id, key in keys.items() if key is not None}
        await _bind(uow.connection, master, tokens, opened)
        await uow.commit()
    return len(rows)


async def _bind(
    connection: AsyncConnection, master: MasterKey, tokens: Mapping[str, str], keys: Mapping[str, SubjectKey]
) -> None:
    """Binds keys to their subjects' tokens, and seals the ids under them."""
    if not keys:
        return
    bound: list[dict[str, Any]] = []
    for subject_id, key in keys.items():
        token = tokens[subject_id]
        row = {"token": token, "new_id": seal_id(key, token, subject_id)}
        bound.append(row | {"new_master": master.key_id, "new_wrapped": master.wrap(token, key)})
    place = update(subject_keys).where(subject_keys.c.subject_id == bindparam("token"))
    values: dict[str, Any] = {"master_id": bindparam("new_master"), "wrapped": bindparam("new_wrapped")}
    names = ("token", "new_master", "new_wrapped")
    await connection.execute(place.values(values), [{name: row[name] for name in names} for row in bound])
    named = update(subjects).where(subjects.c.subject_id == bindparam("token"))
    pairs = [{name: row[name] for name in ("token", "new_id")} for row in bound]
    await connection.execute(named.values(sealed_id=bindparam("new_id")), pairs)


async def _hide_answers(
    connection: AsyncConnection, ids: IdKey, keys: Mapping[str, SubjectKey | None]
) -> None:
    """Seals the answers about these subjects anew, under tokens of their idempotency keys."""
    query = select(idempotency).where(idempotency.c.subject_id.in_(list(keys)))
    for row in (await connection.execute(query)).all():
        if (key := keys[row.subject_id]) is None or row.sealed is None:
            continue
        try:
            body = json.loads(key.open(row.sealed, ANSWER, row.scope, row.key))
        except SealBroken:
            continue
        token = ids.answer_token(row.scope, row.key)
        sealed = seal_answer(key, row.scope, token, request_digest=row.request_digest, body=body)
        place = update(idempotency).where(idempotency.c.scope == row.scope, idempotency.c.key == row.key)
        await connection.execute(place.values(key=token, request_digest="", sealed=sealed))
