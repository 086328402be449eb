"""Seals what older releases stored in clear: once, at the start, and again after a kill.

Releases up to 0.5.0 sealed nothing: a subject without a key is one whose values lie in clear. Each
transaction gives keys to some subjects and seals all that they have, so a kill leaves every subject wholly
sealed or wholly clear. Up to 0.6.0 ids lay in clear: see `service.store.clear_ids`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy import select, update

from service.sealing.keys import SubjectKey
from service.sealing.tokens import MARK
from service.store.access import seal_answer
from service.store.clear_ids import (
    begin_hiding,
    end_hiding,
    hide_clear_ids,
    move_subjects,
    remove_clear_answers,
)
from service.store.database import MIGRATION_LOCK, Database
from service.store.descriptions import seal_description
from service.store.locks import advisory_lock
from service.store.opening import TEMPLATE
from service.store.resealing import CROP, UNDER_SUBJECT
from service.store.subject_ids import seal_id
from service.store.tables import (
    crops,
    idempotency,
    master_keys,
    samples,
    subject_keys,
    subjects,
    templates,
)
from service.store.unit import UnitOfWork

log = structlog.get_logger("halflight.store")

SUBJECTS_AT_ONCE = 50
# Opens a crop of an older release: sample, alignment, name of its key, sealed bytes. None if it cannot.
OpenOldCrop = Callable[[str, str, str, bytes], bytes | None]


async def seal_clear_rows(db: Database, open_old_crop: OpenOldCrop) -> int:
    """Seals every clear row and removes what was there; returns the number of subjects. Raises StoreError.

    Later starts find the marks that it is done and look for secrets of the audit log alone, which 0.6.0
    still kept in clear: another clear row that appears was not written by the service, and is refused.
    """
    async with db.read() as uow:
        query = select(master_keys.c.all_sealed).where(master_keys.c.current.is_(True))
        to_seal = (await uow.connection.execute(query)).scalar_one_or_none() is False
    to_hide = await begin_hiding(db)
    done = await hide_clear_ids(db) if to_hide else 0
    while to_seal and (count := await _seal_some(db, open_old_crop)):
        done += count
        log.info("sealing what an older release stored in clear", subjects=done)
    secrets = await _seal_secrets(db)
    if to_seal or to_hide:
        async with db.write() as uow:
            await remove_clear_answers(uow)
            await uow.commit()
    if to_hide or secrets:
        await db.rewrite()
    if to_hide:
        await end_hiding(db)
    if to_seal:
        async with db.write() as uow:
            await uow.connection.execute(update(master_keys).values(all_sealed=True))
            await uow.commit()
    return done


async def _seal_secrets(db: Database) -> int:
    """Seals the secrets of names in the audit log; returns their number."""
    done, after = 0, ""
    while True:
        async with db.read() as uow:
            if not (found := await uow.audit.clear_secrets(after, SUBJECTS_AT_ONCE)):
                return done
        async with db.write() as uow:
            await advisory_lock(uow.connection, MIGRATION_LOCK)
            keys = await uow.subject_keys.of_subjects(found)
            for subject_id, key in keys.items():
                await uow.audit.seal_secret(subject_id, key)
            await uow.commit()
        done, after = done + len(keys), found[-1]


async def _seal_some(db: Database, open_old_crop: OpenOldCrop) -> int:
    async with db.write() as uow:
        await advisory_lock(uow.connection, MIGRATION_LOCK)
        query = (
            select(subjects.c.subject_id, subjects.c.metadata, subjects.c.display_name)
            .outerjoin(subject_keys, subject_keys.c.subject_id == subjects.c.subject_id)
            .where(subject_keys.c.subject_id.is_(None), subjects.c.subject_id < MARK)
            .order_by(subjects.c.subject_id)
            .limit(SUBJECTS_AT_ONCE)
        )
        rows = (await uow.connection.execute(query)).all()
        for subject_id, description, display_name in rows:
            await _seal_subject(uow, subject_id, description, display_name, open_old_crop)
        await uow.commit()
    return len(rows)


async def _seal_subject(
    uow: UnitOfWork,
    subject_id: str,
    description: dict[str, Any],
    display_name: str | None,
    open_old_crop: OpenOldCrop,
) -> None:
    ids = uow.subject_keys.ids
    token = await ids.token(subject_id)
    await move_subjects(uow.connection, {subject_id: token})
    key = await uow.subject_keys.create(token)
    values: dict[str, Any] = {"sealed": seal_description(key, description, display_name), "metadata": {}}
    values |= {"sealed_id": seal_id(key, token, subject_id), "display_name": None}
    changed = update(subjects).where(subjects.c.subject_id == token)
    await uow.connection.execute(changed.values(values))
    await uow.audit.seal_secret(token, key)
    await _seal_templates(uow, token, key)
    await _seal_crops(uow, token, key, open_old_crop)
    query = select(idempotency.c.scope, idempotency.c.key, idempotency.c.request_digest, idempotency.c.body)
    for scope, name, digest, body in (
        await uow.connection.execute(
            query.where(idempotency.c.subject_id == token, idempotency.c.sealed.is_(None))
        )
    ).all():
        hidden = await ids.answer_token(scope, name)
        answer = seal_answer(key, scope, hidden, request_digest=digest, body=body)
        kept = update(idempotency).where(idempotency.c.scope == scope, idempotency.c.key == name)
        await uow.connection.execute(kept.values(key=hidden, request_digest="", sealed=answer, body={}))


async def _seal_templates(uow: UnitOfWork, token: str, key: SubjectKey) -> None:
    columns = (templates.c.template_id, templates.c.sample_id, templates.c.space_id, templates.c.vector)
    query = select(*columns).join(samples, samples.c.sample_id == templates.c.sample_id)
    rows = (await uow.connection.execute(query.where(samples.c.subject_id == token))).all()
    for template_id, sample_id, space_id, vector in rows:
        sealed = key.seal(vector, TEMPLATE, sample_id, space_id, str(template_id))
        changed = update(templates).where(templates.c.template_id == template_id)
        await uow.connection.execute(changed.values(vector=sealed))


async def _seal_crops(uow: UnitOfWork, token: str, key: SubjectKey, open_old_crop: OpenOldCrop) -> None:
    columns = (crops.c.sample_id, crops.c.alignment, crops.c.key_id, crops.c.sealed)
    query = select(*columns).join(samples, samples.c.sample_id == crops.c.sample_id)
    rows = (await uow.connection.execute(query.where(samples.c.subject_id == token))).all()
    for sample_id, alignment, key_id, old in rows:
        png = open_old_crop(sample_id, alignment, key_id, old)
        if png is None:
            continue
        place = update(crops).where(crops.c.sample_id == sample_id, crops.c.alignment == alignment)
        sealed = key.seal(png, CROP, sample_id, alignment)
        await uow.connection.execute(place.values(sealed=sealed, key_id=UNDER_SUBJECT))
