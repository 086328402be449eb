"""The log verifies in the database and as an export; a rewritten log does not fit a head that was kept."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, update

from service.audit.signing import AuditSigner, BadSignature, SignedHead
from service.audit.verification import export_log, verify_export, verify_log
from service.retention import erase_expired
from service.settings import Settings
from service.store.audit_chain import BrokenChain, Head, entry_digest
from service.store.database import Database
from service.store.records import AuditEvent
from service.store.retention import ClockMark
from service.store.tables import audit_log

NOW = datetime.now(UTC)


async def fill(db: Database, count: int, *, at: datetime = NOW) -> None:
    async with db.write() as uow:
        await uow.audit.extend(
            [AuditEvent(at=at, actor="key", action="read", detail={"i": i}) for i in range(count)]
        )
        await uow.commit()


async def rewrite(db: Database) -> None:
    """Changes an entry and every digest after it, as somebody may who can write to the database."""
    async with db.write() as uow:
        prev = Head().digest
        for entry in await uow.audit.after(0, 1000):
            content: dict[str, Any] = {
                "at": entry.at,
                "actor": "somebody else",
                "action": entry.action,
                "subject": entry.subject,
                "detail": dict(entry.detail),
            }
            digest = entry_digest(prev, audit_id=entry.audit_id, **content)
            changed = update(audit_log).where(audit_log.c.audit_id == entry.audit_id)
            await uow.connection.execute(changed.values(**content, prev=prev, digest=digest))
            prev = digest
        await uow.commit()


@pytest.fixture
def signer() -> AuditSigner:
    return AuditSigner(os.urandom(32))


async def lines(db: Database, signer: AuditSigner) -> list[str]:
    return [json.dumps(each) async for each in export_log(db, signer)]


async def test_a_log_and_its_export_verify(db: Database, signer: AuditSigner) -> None:
    await fill(db, 2500)
    found = await verify_log(db)
    assert (found.entries, found.start, found.head.audit_id) == (2500, Head(), 2500)
    exported = await lines(db, signer)
    assert verify_export(exported, trusted_key=signer.public_key) == found
    assert verify_export(await lines(db, AuditSigner(os.urandom(32)))) == found


async def test_an_empty_log_verifies(db: Database, signer: AuditSigner) -> None:
    assert (await verify_log(db)).entries == 0
    assert verify_export(await lines(db, signer)).entries == 0


async def test_a_kept_head_shows_that_a_whole_log_was_rewritten(db: Database, signer: AuditSigner) -> None:
    await fill(db, 20)
    kept = signer.sign((await verify_log(db)).head)
    await fill(db, 20)
    await verify_log(db, kept=kept, trusted_key=signer.public_key)
    await rewrite(db)
    # The chain in itself is whole again.
    assert (await verify_log(db)).entries == 40
    with pytest.raises(BrokenChain):
        await verify_log(db, kept=kept)


async def test_a_kept_head_shows_that_the_end_is_missing(db: Database, signer: AuditSigner) -> None:
    await fill(db, 20)
    kept = signer.sign((await verify_log(db)).head)
    async with db.write() as uow:
        await uow.connection.execute(delete(audit_log).where(audit_log.c.audit_id > 15))
        await uow.commit()
    assert (await verify_log(db)).entries == 15
    with pytest.raises(BrokenChain):
        await verify_log(db, kept=kept)


async def test_a_head_of_another_key_or_a_changed_one_is_refused(db: Database, signer: AuditSigner) -> None:
    await fill(db, 3)
    kept = signer.sign((await verify_log(db)).head)
    kept.verify()
    assert SignedHead.of(json.loads(json.dumps(kept.as_json()))) == kept
    with pytest.raises(BadSignature):
        kept.verify(AuditSigner(os.urandom(32)).public_key)
    for changed in (
        replace(kept, audit_id=2),
        replace(kept, digest="0" * 64),
        replace(kept, at=kept.at + timedelta(seconds=1)),
        replace(kept, signature="00" * 64),
        replace(kept, signature="no hex"),
    ):
        with pytest.raises(BadSignature):
            changed.verify()
    wrong: list[Any] = [{}, [], {"audit_id": "x"}]
    for nothing in wrong:
        with pytest.raises(BadSignature):
            SignedHead.of(nothing)


async def test_every_change_of_an_export_is_found(db: Database, signer: AuditSigner) -> None:
    await fill(db, 5)
    whole = await lines(db, signer)
    entry = json.loads(whole[2])
    broken = [
        whole[:3] + whole[4:],
        whole[:-1],
        whole[1:],
        whole[:-2] + whole[-1:],
        [*whole, whole[-2]],
        [*whole[:2], json.dumps(entry | {"actor": "x"}), *whole[3:]],
        [*whole[:2], "{", *whole[3:]],
        [*whole[:2], "[]", *whole[3:]],
        [*whole[:2], json.dumps({"audit_id": 2}), *whole[3:]],
        [],
    ]
    for each in broken:
        with pytest.raises((BrokenChain, BadSignature)):
            verify_export(each)


async def test_old_entries_go_and_a_signed_checkpoint_takes_their_place(
    db: Database, signer: AuditSigner
) -> None:
    await fill(db, 30, at=NOW - timedelta(days=100))
    await fill(db, 5)
    kept = signer.sign((await verify_log(db)).head)
    settings = Settings(audit_days=90)
    for _ in range(2):
        async with db.write() as uow:
            await uow.clock.set_mark(ClockMark(NOW))
            await erase_expired(uow, settings, signer)
            await uow.commit()
    found = await verify_log(db, trusted_key=signer.public_key, kept=kept)
    assert (found.start.audit_id, found.entries, found.head.audit_id) == (30, 6, 36)
    exported = await lines(db, signer)
    assert verify_export(exported, trusted_key=signer.public_key) == found
    with pytest.raises(BadSignature):
        await verify_log(db, trusted_key=AuditSigner(os.urandom(32)).public_key)
    async with db.read() as uow:
        (last,) = await uow.audit.page(None, 1)
    assert (last.action, last.detail["entries"], last.detail["to_audit_id"]) == ("audit.expire", 30, 30)
    # Entries may be gone altogether, and the chain goes on from the checkpoint.
    async with db.write() as uow:
        await uow.connection.execute(delete(audit_log).where(audit_log.c.audit_id == 31))
        await uow.commit()
    with pytest.raises(BrokenChain):
        await verify_log(db)
