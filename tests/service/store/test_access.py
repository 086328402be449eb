from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select

from service.store.database import Database
from service.store.errors import IdempotencyTaken, StoreError
from service.store.records import StoredAnswer, StoredKey
from service.store.tables import audit_log, idempotency
from tests.service.store.support import enrol, vector


async def put(db: Database, key: str, *, digest: str = "d", subject_id: str = "anna") -> None:
    async with db.write() as uow:
        body = {"subject_id": subject_id, "samples": [{"score": 0.5}]}
        await uow.subjects.ensure(subject_id, None)
        await uow.idempotency.put(
            "scope", key, request_digest=digest, subject_id=subject_id, status=201, body=body
        )
        await uow.commit()


async def test_an_idempotent_answer_is_stored_once_in_its_scope(db: Database) -> None:
    await put(db, "k")
    with pytest.raises(IdempotencyTaken):
        await put(db, "k", digest="other")
    async with db.read() as uow:
        assert await uow.idempotency.get("scope", "k") == StoredAnswer(
            "d", 201, {"subject_id": "anna", "samples": [{"score": 0.5}]}
        )
        assert await uow.idempotency.get("other", "k") is None
        assert await uow.idempotency.get("scope", "none") is None


async def test_a_taken_idempotency_key_rolls_back_the_unit_of_work(db: Database) -> None:
    await put(db, "k")
    with pytest.raises(IdempotencyTaken):
        async with db.write() as uow:
            await enrol(uow, "bert", vector(1))
            await uow.idempotency.put(
                "scope", "k", request_digest="d", subject_id="bert", status=201, body={}
            )
            await uow.commit()
    async with db.read() as uow:
        assert await uow.subjects.get("bert") is None


async def test_expired_answers_are_purged(db: Database) -> None:
    await put(db, "old")
    between = datetime.now(UTC)
    await put(db, "new")
    async with db.write() as uow:
        assert await uow.idempotency.purge(between - timedelta(hours=24)) == 0
        assert await uow.idempotency.purge(between) == 1
        await uow.commit()
    async with db.read() as uow:
        assert await uow.idempotency.get("scope", "old") is None
        assert await uow.idempotency.get("scope", "new") is not None


async def test_keys_are_found_by_digest_until_revoked(db: Database) -> None:
    made = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    key = StoredKey("id1", "operator", "gate", "a" * 64, made, None)
    async with db.write() as uow:
        assert not await uow.keys.any_active()
        await uow.keys.add(key)
        assert await uow.keys.any_active()
        await uow.commit()
    async with db.write() as uow:
        assert await uow.keys.find("a" * 64) == key
        assert await uow.keys.find("b" * 64) is None
        assert await uow.keys.revoke("id1")
        assert not await uow.keys.revoke("id1")
        assert not await uow.keys.any_active()
        await uow.commit()
    async with db.read() as uow:
        (found,) = await uow.keys.all()
        assert found.created_at == made
        assert found.revoked_at is not None
        assert found.revoked_at.tzinfo is UTC


async def test_a_key_expires_and_its_last_use_never_goes_back(db: Database) -> None:
    made = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    key = StoredKey("id1", "admin", "", "a" * 64, made, None, made + timedelta(days=1), ("investigate",))
    async with db.write() as uow:
        await uow.keys.add(key)
        assert not await uow.keys.any_active()
        assert not await uow.keys.other_admin("id2", made + timedelta(days=2))
        assert await uow.keys.other_admin("id2", made)
        assert not await uow.keys.other_admin("id1", made)
        for hours in (2, 1):
            await uow.keys.used({"id1": made + timedelta(hours=hours)})
        await uow.commit()
    async with db.read() as uow:
        assert await uow.keys.get("id1") == replace(key, last_used_at=made + timedelta(hours=2))
        assert await uow.keys.get("id2") is None


async def test_an_unknown_role_is_refused(db: Database) -> None:
    with pytest.raises(StoreError):
        async with db.write() as uow:
            await uow.keys.add(StoredKey("id1", "root", "", "a" * 64, datetime.now(UTC), None))
            await uow.commit()


async def test_a_time_without_a_zone_is_refused(db: Database) -> None:
    with pytest.raises(StoreError):
        async with db.write() as uow:
            naive = datetime(2026, 1, 1)
            values = {"at": naive, "actor": "a", "action": "b", "detail": {}, "prev": "", "digest": ""}
            await uow.connection.execute(insert(audit_log).values(values))
            await uow.commit()


async def test_a_time_of_another_zone_is_stored_as_the_same_moment(db: Database) -> None:
    zone = datetime.now().astimezone().tzinfo
    moment = datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=UTC)
    async with db.write() as uow:
        key = StoredKey("id1", "probe", "", "a" * 64, moment.astimezone(zone), None)
        await uow.keys.add(key)
        await uow.commit()
    async with db.read() as uow:
        (found,) = await uow.keys.all()
        assert found.created_at == moment
        assert found.created_at.utcoffset() == timedelta(0)


async def test_the_audit_log_is_paged_from_the_newest(db: Database) -> None:
    async with db.write() as uow:
        added = [await uow.audit.add("actor", f"action.{i}", None, {"i": i}) for i in range(5)]
        await uow.commit()
    assert [entry.audit_id for entry in added] == [1, 2, 3, 4, 5]
    async with db.read() as uow:
        first = await uow.audit.page(None, 3)
        second = await uow.audit.page(first[-1].audit_id, 3)
    assert [entry.detail["i"] for entry in first + second] == [4, 3, 2, 1, 0]
    assert first[0].at.tzinfo is UTC


async def test_the_answers_that_describe_an_erased_sample_go_and_others_stay(db: Database) -> None:
    async with db.write() as uow:
        await uow.subjects.ensure("anna", None)
        await uow.subjects.ensure("bert", None)
        for key, subject_id, body in (
            ("first", "anna", {"samples": [{"sample_id": "s-1"}]}),
            ("second", "anna", {"samples": [{"sample_id": "s-2"}]}),
            ("broken", "anna", {"samples": []}),
            ("other", "bert", {"samples": [{"sample_id": "s-1"}]}),
        ):
            await uow.idempotency.put(
                "scope", key, request_digest="d", subject_id=subject_id, status=201, body=body
            )
        token = await uow.subject_keys.ids.answer_token("scope", "broken")
        broken = idempotency.update().where(idempotency.c.key == token)
        await uow.connection.execute(broken.values(sealed=b"changed"))
        await uow.commit()
    async with db.write() as uow:
        assert await uow.idempotency.forget_sample("anna", "s-1") == 2
        await uow.commit()
    async with db.read() as uow:
        left = set((await uow.connection.execute(select(idempotency.c.key))).scalars())
        ids = uow.subject_keys.ids
        assert left == {await ids.answer_token("scope", key) for key in ("other", "second")}
