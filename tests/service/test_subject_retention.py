"""Subjects whose time is over are erased by the clock that retention believes, each with a receipt."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from service.audit.recorder import AuditRecorder
from service.retention import erase_expired_subjects
from service.settings import Settings
from service.store.database import Database
from service.store.records import AuditEvent
from service.store.retention import ClockMark
from service.store.tables import samples
from service.store.term_records import Hold, SubjectTerms
from service.telemetry import Metrics
from tests.service.store.support import enrol, enrolled, vector
from tests.service.store.test_terms import put, terms_of

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
YEAR = Settings(subject_retention_days=365)


async def enrolled_at(db: Database, at: datetime, *names: str) -> None:
    async with db.write() as uow:
        for i, name in enumerate(names):
            (template,) = await enrol(uow, name, vector(i))
            assert template
            await uow.subjects.set_times(name, created_at=at, updated_at=at)
        await uow.connection.execute(samples.update().values(created_at=at))
        await uow.commit()


async def note_matches_since(db: Database, at: datetime) -> None:
    async with db.write() as uow:
        await uow.clock.set_mark(ClockMark(at))
        await uow.clock.begin_matches(at)
        # Only the first time counts.
        await uow.clock.begin_matches(at + 1000 * DAY)
        await uow.commit()


async def left(db: Database) -> set[str]:
    async with db.read() as uow:
        return {one.subject_id for one in await uow.subjects.page(None, 1000)}


async def entries(db: Database) -> Sequence[Any]:
    async with db.read() as uow:
        return await uow.audit.after(0, 1000)


async def test_a_subject_goes_at_its_own_end_with_an_audited_receipt(db: Database) -> None:
    await enrolled_at(db, NOW, "anna", "berta", "clara")
    await put(db, "anna", SubjectTerms(expires_at=NOW))
    await put(db, "berta", SubjectTerms(expires_at=NOW, hold=Hold(NOW, "key", "why")))
    async with db.read() as uow:
        key = await uow.subject_keys.of_subject("anna")
    async with db.write() as uow:
        name = (await uow.audit.names_of(["anna"]))["anna"]
        await uow.commit()
    forgotten: list[str] = []
    db.on_shredded = forgotten.extend
    assert await erase_expired_subjects(db, Settings(), NOW - timedelta(seconds=1)) == 0
    assert await erase_expired_subjects(db, Settings(), NOW) == 1
    assert await left(db) == {"berta", "clara"}
    (entry,) = await entries(db)
    assert (entry.actor, entry.action, entry.subject) == ("retention", "subject.expire", name)
    assert entry.detail == {
        "samples": 1,
        "templates": 1,
        "crops": 0,
        "shredded": key.key_id,
        "why": "expires_at",
    }
    assert forgotten == [key.key_id]
    async with db.read() as uow:
        assert [one.op for one in await uow.log.tail("sp-one", 0, 100)] == ["add", "add", "add", "remove"]


async def test_unmatched_subjects_go_once_matches_were_noted_for_that_long(db: Database) -> None:
    await enrolled_at(db, NOW - 900 * DAY, "anna", "berta", "clara")
    await put(db, "berta", SubjectTerms(last_matched_at=NOW - 200 * DAY))
    await put(db, "clara", SubjectTerms(hold=Hold(NOW, "key", "why")))
    # Nothing says yet since when matches are noted, and then: not for a year.
    assert await erase_expired_subjects(db, YEAR, NOW) == 0
    await note_matches_since(db, NOW - 364 * DAY)
    assert await erase_expired_subjects(db, YEAR, NOW) == 0
    assert await erase_expired_subjects(db, YEAR, NOW + 2 * DAY) == 1
    assert await left(db) == {"berta", "clara"}
    assert [entry.detail["why"] for entry in await entries(db)] == ["not_matched"]
    assert await erase_expired_subjects(db, Settings(), NOW + 9000 * DAY) == 0
    assert await erase_expired_subjects(db, YEAR, NOW + 170 * DAY) == 1
    assert await left(db) == {"clara"}


async def test_many_go_in_portions(db: Database) -> None:
    await enrolled_at(db, NOW - 900 * DAY, *(f"s{i:03}" for i in range(450)))
    await enrolled_at(db, NOW - 900 * DAY, "stays")
    await put(db, "stays", SubjectTerms(last_matched_at=NOW))
    await note_matches_since(db, NOW - 900 * DAY)
    assert await erase_expired_subjects(db, YEAR, NOW) == 450
    assert await left(db) == {"stays"}
    assert len(await entries(db)) == 450


async def test_a_match_that_is_audited_counts_from_the_recorders_batch(db: Database) -> None:
    await enrolled(db, "anna", vector(1))
    await enrolled(db, "berta", vector(2))
    for strict in (True, False):
        recorder = AuditRecorder(db, Metrics(), strict=strict, flush_s=0.01)
        recorder.start()
        at = NOW + (DAY if strict else 2 * DAY)
        await recorder.record(
            AuditEvent(at=at, actor="key", action="subject.identify", matched=("anna", "gone")),
            AuditEvent(at=at - DAY, actor="key", action="subject.identify", matched=("anna",)),
            AuditEvent(at=at, actor="key", action="subject.verify", subject_id="berta"),
        )
        await recorder.close()
        assert (await terms_of(db, "anna")).last_matched_at == at
    assert (await terms_of(db, "berta")).last_matched_at is None
