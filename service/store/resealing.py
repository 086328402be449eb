"""Moves sealed values of one subject under the key of another, for a merge."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.sealing.keys import SealBroken, SubjectKey
from service.store.errors import StoreError
from service.store.opening import TEMPLATE
from service.store.portions import portions
from service.store.tables import crops, idempotency, templates

ANSWER, CROP = "answer", "crop"
# What `crops.key_id` says of a crop under the key of its subject; older releases named a crop key here.
UNDER_SUBJECT = "subject"


async def reseal_all(
    connection: AsyncConnection, old: SubjectKey, new: SubjectKey, source: str, sample_ids: Sequence[str]
) -> None:
    """Seals templates and crops of these samples, and the answers about `source`, a token, under `new`.

    Raises StoreError if one of them does not open: a merge would lose it.
    """
    try:
        for chosen in portions(sample_ids):
            await _templates(connection, old, new, chosen)
            await _crops(connection, old, new, chosen)
        await _answers(connection, old, new, source)
    except SealBroken as error:
        raise StoreError("a stored value of the subject does not open, so it cannot be merged") from error


async def _templates(
    connection: AsyncConnection, old: SubjectKey, new: SubjectKey, sample_ids: list[str]
) -> None:
    columns = (templates.c.template_id, templates.c.sample_id, templates.c.space_id, templates.c.vector)
    query = select(*columns).where(templates.c.sample_id.in_(sample_ids))
    for template_id, sample_id, space_id, sealed in (await connection.execute(query)).all():
        place = (TEMPLATE, sample_id, space_id, str(template_id))
        moved = update(templates).where(templates.c.template_id == template_id)
        await connection.execute(moved.values(vector=new.seal(old.open(sealed, *place), *place)))


async def _crops(
    connection: AsyncConnection, old: SubjectKey, new: SubjectKey, sample_ids: list[str]
) -> None:
    query = select(crops.c.sample_id, crops.c.alignment, crops.c.sealed).where(
        crops.c.sample_id.in_(sample_ids), crops.c.key_id == UNDER_SUBJECT
    )
    for sample_id, alignment, sealed in (await connection.execute(query)).all():
        place = (CROP, sample_id, alignment)
        moved = update(crops).where(crops.c.sample_id == sample_id, crops.c.alignment == alignment)
        await connection.execute(moved.values(sealed=new.seal(old.open(sealed, *place), *place)))


async def _answers(connection: AsyncConnection, old: SubjectKey, new: SubjectKey, source: str) -> None:
    query = select(idempotency.c.scope, idempotency.c.key, idempotency.c.sealed).where(
        idempotency.c.subject_id == source, idempotency.c.sealed.is_not(None)
    )
    for scope, name, sealed in (await connection.execute(query)).all():
        place = (ANSWER, scope, name)
        moved = update(idempotency).where(idempotency.c.scope == scope, idempotency.c.key == name)
        await connection.execute(moved.values(sealed=new.seal(old.open(sealed, *place), *place)))
