"""Events are committed together; strict, nobody gets an answer that is not audited."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from service.audit.recorder import MAX_WAITING, AuditRecorder
from service.audit.refusals import MAX_KINDS, NOBODY, WINDOW_S, Refusal, RefusalLog
from service.errors import AuditUnavailable
from service.store.audit_chain import Head, follow
from service.store.database import Database
from service.store.records import AuditEntry, AuditEvent
from service.telemetry import Metrics


def event(number: int = 0) -> AuditEvent:
    return AuditEvent(at=datetime.now(UTC), actor="key", action="read", detail={"number": number})


def recorder(db: Database, metrics: Metrics, *, strict: bool, flush_s: float = 0.05) -> AuditRecorder:
    made = AuditRecorder(db, metrics, strict=strict, flush_s=flush_s)
    made.start()
    return made


async def written(db: Database) -> list[AuditEntry]:
    async with db.read() as uow:
        found = await uow.audit.after(0, 100_000)
    follow(Head(), found)
    return found


async def set_read_only(db: Database, wanted: bool) -> None:
    """Lets the database refuse inserts of audit entries, as a full disk would, or take them again."""
    if db.dialect == "postgresql":
        pytest.skip("a trigger is written otherwise there; the recorder does not tell databases apart")
    trigger = (
        "CREATE TRIGGER no_audit BEFORE INSERT ON audit_log BEGIN SELECT RAISE(ABORT, 'no'); END"
        if wanted
        else "DROP TRIGGER no_audit"
    )
    async with db.write() as uow:
        await uow.connection.execute(text(trigger))
        await uow.commit()


async def test_strict_events_are_committed_before_record_returns(db: Database) -> None:
    strict = recorder(db, Metrics(), strict=True)
    await strict.record(event(1), event(2))
    assert [entry.detail["number"] for entry in await written(db)] == [1, 2]
    # Many at once share commits, and none is lost.
    await asyncio.gather(*(strict.record(event(number)) for number in range(3, 300)))
    assert sorted(entry.detail["number"] for entry in await written(db)) == list(range(1, 300))
    await strict.close()


async def test_batched_events_are_written_in_time_and_at_the_end(db: Database) -> None:
    batched = recorder(db, Metrics(), strict=False)
    await batched.record(event(1))
    ended = asyncio.get_running_loop().time() + 30
    while not await written(db):
        assert asyncio.get_running_loop().time() < ended
        await asyncio.sleep(0.05)
    for number in range(2, 1500):
        await batched.record(event(number))
    await batched.close()
    assert [entry.detail["number"] for entry in await written(db)] == list(range(1, 1500))


async def test_two_replicas_write_one_chain(db: Database) -> None:
    both = [recorder(db, Metrics(), strict=True) for _ in range(2)]
    await asyncio.gather(*(both[number % 2].record(event(number)) for number in range(200)))
    for one in both:
        await one.close()
    assert sorted(entry.detail["number"] for entry in await written(db)) == list(range(200))


async def test_strict_refuses_what_cannot_be_audited_and_goes_on_later(db: Database) -> None:
    metrics = Metrics()
    strict = recorder(db, metrics, strict=True)
    await set_read_only(db, True)
    outcomes = await asyncio.gather(
        *(strict.record(event(number)) for number in range(20)), return_exceptions=True
    )
    assert all(isinstance(outcome, AuditUnavailable) for outcome in outcomes)
    await set_read_only(db, False)
    await strict.record(event(99))
    assert [entry.detail["number"] for entry in await written(db)] == [99]
    await strict.close()


async def test_batched_events_wait_for_the_database_and_beyond_the_limit_their_loss_is_told(
    db: Database,
) -> None:
    metrics = Metrics()
    batched = recorder(db, metrics, strict=False)
    await set_read_only(db, True)
    for number in range(MAX_WAITING + 30):
        await batched.record(event(number))
    await asyncio.sleep(0.3)
    assert await written(db) == []
    await set_read_only(db, False)
    await batched.close()
    found = await written(db)
    assert [entry.detail["number"] for entry in found if entry.action == "read"] == list(range(MAX_WAITING))
    (loss,) = [entry for entry in found if entry.action == "audit.lost"]
    assert loss.detail == {"entries": 30}
    assert b"halflight_audit_lost_total 30.0" in metrics.text()


async def test_what_the_database_never_took_is_counted_as_lost(db: Database) -> None:
    metrics = Metrics()
    batched = recorder(db, metrics, strict=False)
    await set_read_only(db, True)
    await batched.record(event(1), event(2))
    await batched.close()
    assert b"halflight_audit_lost_total 2.0" in metrics.text()


def refused(entries: Iterable[AuditEntry]) -> list[tuple[str, int]]:
    return [(entry.detail["address"], entry.detail["repeated"]) for entry in entries]


async def test_repeated_refusals_become_a_number(tmp_path: Path) -> None:
    db = await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'halflight.db'}")
    await db.migrate()
    now = 0.0
    batched = recorder(db, Metrics(), strict=False, flush_s=0.0)
    log = RefusalLog(batched, clock=lambda: now)
    for _ in range(10):
        log.note(Refusal(NOBODY, "unauthorized", "10.0.0.1"), "/identify")
    log.note(Refusal(NOBODY, "unauthorized", "10.0.0.2"), "/identify")
    now = WINDOW_S + 1
    log.sweep()
    log.sweep(everything=True)
    log.note(Refusal(NOBODY, "unauthorized", "10.0.0.1"), "/identify")
    for number in range(3 * MAX_KINDS):
        log.note(Refusal(NOBODY, "unauthorized", f"a{number}"), "/identify")
    log.sweep(everything=True)
    await batched.close()
    found = refused(await written(db))
    await db.close()
    assert found[:4] == [("10.0.0.1", 0), ("10.0.0.2", 0), ("10.0.0.1", 9), ("10.0.0.1", 0)]
    assert len(found) == 4 + MAX_KINDS - 1 + 2
    assert found[-1] == ("others", 2 * MAX_KINDS)
