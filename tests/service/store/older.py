"""Turns a database into what release 0.6.0 left behind: ids of subjects and idempotency keys in clear."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from sqlalchemy import select, update

from service.store.clear_ids import move_subjects
from service.store.resealing import ANSWER
from service.store.tables import id_keys, idempotency, subject_keys, subjects
from service.store.unit import UnitOfWork


async def show_ids(
    uow: UnitOfWork, subject_ids: Iterable[str], answers: Sequence[tuple[str, str]] = ()
) -> None:
    """Binds keys to ids again, and `answers` (scope and idempotency key) to their keys."""
    master, ids = await uow.subject_keys.current_master(), uow.subject_keys.ids
    tokens = await ids.tokens(subject_ids)
    keys = await uow.subject_keys.of_subjects(list(tokens))
    for scope, name in answers:
        hidden = await ids.answer_token(scope, name)
        place = (idempotency.c.scope == scope) & (idempotency.c.key == hidden)
        row = (await uow.connection.execute(select(idempotency).where(place))).one()
        key = keys[row.subject_id]
        answer = json.loads(key.open(row.sealed, ANSWER, scope, hidden))
        sealed = key.seal(json.dumps(answer["body"]).encode(), ANSWER, scope, name)
        clear = {"key": name, "request_digest": answer["request_digest"], "sealed": sealed}
        await uow.connection.execute(update(idempotency).where(place).values(clear))
    await move_subjects(uow.connection, tokens)
    for token, key in keys.items():
        changed = update(subject_keys).where(subject_keys.c.subject_id == tokens[token])
        await uow.connection.execute(changed.values(wrapped=master.wrap(tokens[token], key)))
    await uow.connection.execute(
        update(subjects).where(subjects.c.subject_id.in_(list(tokens.values()))).values(sealed_id=None)
    )
    await uow.connection.execute(update(id_keys).values(all_hidden=False))
