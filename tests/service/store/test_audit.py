"""The audit log: a chain that shows every change, and pseudonyms that an erasure unlinks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from service.store.audit import SECRET_BYTES, pseudonym
from service.store.audit_chain import BrokenChain, Head, entry_digest, follow
from service.store.clear_rows import seal_clear_rows
from service.store.database import Database
from service.store.records import AuditedCandidate, AuditEvent, AuditFilter
from service.store.tables import audit_log, audit_subjects, master_keys
from tests.service.store.support import enrol, token_of, vector

NOW = datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)


def seen(subject_id: str | None, *candidates: tuple[str, float, bool], at: datetime = NOW) -> AuditEvent:
    return AuditEvent(
        at=at,
        actor="key1",
        action="subject.identify",
        subject_id=subject_id,
        detail={"threshold": 0.25, "text": "ä\u2028 ", "none": None},
        candidates=tuple(AuditedCandidate(*one) for one in candidates),
    )


async def record(db: Database, *events: AuditEvent) -> None:
    async with db.write() as uow:
        await uow.audit.extend(events)
        await uow.commit()


async def entries(db: Database) -> list[Any]:
    async with db.read() as uow:
        return await uow.audit.after(0, 1000)


@pytest.fixture
async def people(db: Database) -> Database:
    async with db.write() as uow:
        for number, subject in enumerate(("anna", "bert")):
            await enrol(uow, subject, vector(number))
            await uow.audit.add("key1", "subject.enrol", subject, {"samples": 1})
        await uow.commit()
    return db


async def test_entries_of_many_transactions_make_one_chain(people: Database) -> None:
    await asyncio.gather(
        *(record(people, seen("anna", ("anna", 0.1 + 0.2, True), ("bert", -1e-9, False))) for _ in range(8))
    )
    found = await entries(people)
    assert [entry.audit_id for entry in found] == list(range(1, 11))
    head = follow(Head(), found)
    async with people.read() as uow:
        assert await uow.audit.head() == head
    assert found[-1].detail["candidates"][0]["score"] == 0.1 + 0.2
    assert found[-1].at == NOW
    assert "anna" not in repr(found)


@pytest.mark.parametrize(
    "change",
    [
        lambda: update(audit_log).where(audit_log.c.audit_id == 3).values(detail={"threshold": 0.24}),
        lambda: update(audit_log).where(audit_log.c.audit_id == 3).values(actor="key2"),
        lambda: update(audit_log).where(audit_log.c.audit_id == 3).values(subject=None),
        lambda: update(audit_log).where(audit_log.c.audit_id == 3).values(at=NOW + timedelta(seconds=1)),
        lambda: update(audit_log).where(audit_log.c.audit_id == 5).values(audit_id=9),
        lambda: delete(audit_log).where(audit_log.c.audit_id == 3),
        lambda: delete(audit_log).where(audit_log.c.audit_id == 1),
    ],
    ids=["detail", "actor", "subject", "time", "number", "removed", "first removed"],
)
async def test_a_change_behind_the_services_back_breaks_the_chain(
    people: Database, change: Callable[[], Any]
) -> None:
    await record(people, *(seen("anna") for _ in range(3)))
    async with people.write() as uow:
        await uow.connection.execute(change())
        await uow.commit()
    with pytest.raises(BrokenChain):
        follow(Head(), await entries(people))


async def test_an_entry_that_its_maker_digested_himself_breaks_the_chain_after_it(people: Database) -> None:
    await record(people, seen("anna"), seen("bert"))
    third = (await entries(people))[2]
    content = {"audit_id": 3, "at": third.at, "actor": "x", "action": third.action, "subject": None}
    digest = entry_digest(third.prev, **content, detail={})
    async with people.write() as uow:
        changed = update(audit_log).where(audit_log.c.audit_id == 3)
        await uow.connection.execute(changed.values(**content, detail={}, digest=digest))
        await uow.commit()
    with pytest.raises(BrokenChain) as caught:
        follow(Head(), await entries(people))
    assert caught.value.audit_id == 4


async def test_an_erased_subject_is_unlinked_and_the_chain_stands(people: Database) -> None:
    await record(people, seen("anna", ("anna", 0.9, True), ("bert", 0.1, False)))
    async with people.read() as uow:
        name = await uow.audit.find_name("anna")
    assert name is not None
    assert [entry.subject for entry in await entries(people)].count(name) == 2
    async with people.write() as uow:
        assert (await uow.audit.names_of(["anna"])) == {"anna": name}
        await uow.subjects.delete("anna")
        await uow.audit.add("key1", "subject.erase", None, {}, name=name)
        await uow.commit()
    async with people.read() as uow:
        assert await uow.audit.find_name("anna") is None
        secrets = (await uow.connection.execute(select(audit_subjects.c.subject_id))).scalars().all()
        assert secrets == [await uow.subject_keys.ids.token("bert")]
    follow(Head(), await entries(people))
    # Whoever comes back under the same id is somebody new to the log.
    async with people.write() as uow:
        await enrol(uow, "anna", vector(5))
        assert (await uow.audit.names_of(["anna"]))["anna"] != name
        await uow.commit()


async def test_the_secret_of_a_name_is_sealed_and_one_in_clear_keeps_its_name(people: Database) -> None:
    async with people.read() as uow:
        before = await uow.audit.find_name("anna")
        sealed = (await uow.connection.execute(select(audit_subjects.c.secret))).scalars().all()
        assert all(len(secret) > SECRET_BYTES for secret in sealed)
    clear = b"s" * SECRET_BYTES
    anna, bert = [await token_of(people, name) for name in ("anna", "bert")]
    async with people.write() as uow:
        changed = update(audit_subjects).where(audit_subjects.c.subject_id == anna)
        await uow.connection.execute(changed.values(secret=clear))
        name = await uow.audit.find_name("anna")
        assert name == pseudonym(clear) != before
        key = await uow.subject_keys.of_subject("anna")
        for _ in range(2):
            await uow.audit.seal_secret(anna, key)
            assert await uow.audit.find_name("anna") == name
        query = select(audit_subjects.c.secret).where(audit_subjects.c.subject_id == anna)
        assert clear not in (await uow.connection.execute(query)).scalar_one()
        # Another subject's secret in this row does not open: there is no name, and nothing fails.
        other = select(audit_subjects.c.secret).where(audit_subjects.c.subject_id == bert)
        moved = (await uow.connection.execute(other)).scalar_one()
        await uow.connection.execute(changed.values(secret=moved))
        assert await uow.audit.find_name("anna") is None
        await uow.audit.extend([seen("anna")])
        await uow.commit()
    assert (await entries(people))[-1].subject is None


async def test_a_start_seals_the_secrets_that_0_6_0_left_in_clear(people: Database) -> None:
    clear = {one: one.encode() * 8 for one in ("anna", "bert")}
    async with people.write() as uow:
        for subject_id, secret in clear.items():
            token = await uow.subject_keys.ids.token(subject_id)
            changed = update(audit_subjects).where(audit_subjects.c.subject_id == token)
            await uow.connection.execute(changed.values(secret=secret))
        await uow.connection.execute(update(master_keys).values(all_sealed=True))
        await uow.commit()
    await seal_clear_rows(people, lambda *_: None)
    async with people.read() as uow:
        assert await uow.audit.clear_secrets("", 10) == []
        assert await uow.audit.secrets_of(list(clear)) == clear
    if people.file is not None:
        held = people.file.read_bytes()
        assert not any(secret in held for secret in clear.values())


async def test_events_of_a_subject_erased_meanwhile_have_no_name(people: Database) -> None:
    await record(people, seen("nobody", ("nobody", 0.5, True), ("bert", 0.2, False)))
    last = (await entries(people))[-1]
    assert last.subject is None
    assert [one["subject"] is None for one in last.detail["candidates"]] == [True, False]
    async with people.read() as uow:
        assert await uow.audit.find_name("nobody") is None


async def test_nothing_is_written_without_a_commit(people: Database) -> None:
    async with people.write() as uow:
        await uow.audit.add("key1", "never", None, {})
    assert [entry.action for entry in await entries(people)] == ["subject.enrol"] * 2


async def test_entries_are_filtered(people: Database) -> None:
    for hours in range(4):
        await record(people, seen("anna" if hours % 2 else "bert", at=NOW + timedelta(hours=hours)))
    async with people.read() as uow:
        name = await uow.audit.find_name("anna")
        found = await uow.audit.page(None, 10, AuditFilter(subject=name, action="subject.identify"))
        assert [entry.at.hour for entry in found] == [15, 13]
        span = AuditFilter(since=NOW + timedelta(hours=1), until=NOW + timedelta(hours=3))
        assert [entry.at.hour for entry in await uow.audit.page(None, 10, span)] == [14, 13]
        assert len(await uow.audit.page(None, 10, AuditFilter(actor="key1"))) == 6
        assert await uow.audit.page(None, 10, AuditFilter(actor="key2")) == []


async def test_a_detail_that_is_no_json_number_is_refused(people: Database) -> None:
    with pytest.raises(ValueError):
        AuditedCandidate("anna", float("nan"), False)
    with pytest.raises(ValueError):
        async with people.write() as uow:
            await uow.audit.add("key1", "x", None, {"score": float("inf")})
            await uow.commit()
    follow(Head(), await entries(people))


async def test_a_row_by_hand_is_found(people: Database) -> None:
    async with people.write() as uow:
        row = {"at": NOW, "actor": "a", "action": "b", "detail": {}, "prev": "0" * 64, "digest": "1" * 64}
        await uow.connection.execute(insert(audit_log).values(audit_id=7, **row))
        await uow.commit()
    with pytest.raises(BrokenChain):
        follow(Head(), await entries(people))
