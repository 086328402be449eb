"""States of spaces in the store, over SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest

from service.store.backfills import BackfillRecord
from service.store.database import Database
from service.store.errors import StoreError
from service.store.records import NewBundle, SpaceState
from tests.service.store.support import KEYS, OTHER, SPACE, D, enrolled, new_sample, vector


async def known(db: Database, space_id: str, state: SpaceState = "registered") -> None:
    async with db.write() as uow:
        await uow.spaces.register(space_id, "other", D, state)
        await uow.commit()


async def states(db: Database) -> dict[str, str]:
    async with db.read() as uow:
        return {space.space_id: space.state for space in await uow.spaces.all()}


async def test_state_changes_and_template_writers_wait_for_each_other(db: Database) -> None:
    await known(db, OTHER)
    order: list[str] = []
    inside = asyncio.Event()

    async def write() -> None:
        async with db.write() as uow:
            await uow.subjects.ensure("anna", None)
            await uow.spaces.lock_shared()
            assert [space.space_id for space in await uow.spaces.writable()] == [SPACE]
            inside.set()
            await asyncio.sleep(0.2)
            sample_id = await uow.samples.add(new_sample("anna"))
            await uow.templates.add(SPACE, sample_id, vector(1))
            order.append("written")
            await uow.commit()

    async def change() -> None:
        await inside.wait()
        async with db.write() as uow:
            await uow.spaces.lock_exclusive()
            order.append("owned")
            assert await uow.spaces.transition(OTHER, ("registered",), "backfilling")
            # The writer that knew of one space only is seen by whoever fills the other.
            assert await uow.templates.count_missing(OTHER) == 1
            await uow.commit()

    await asyncio.gather(write(), change())
    assert order == ["written", "owned"]


async def test_activation_is_atomic_and_only_from_ready(db: Database) -> None:
    await known(db, OTHER)
    origins: tuple[SpaceState, ...] = ("registered", "backfilling", "ready", "retired")
    for state in origins:
        allowed = state == "ready"
        async with db.write() as uow:
            await uow.spaces.set_state(OTHER, state)
            assert await uow.spaces.activate(OTHER) is allowed
            assert (await uow.spaces.active() is not None) is allowed
    # None of them was committed.
    assert await states(db) == {SPACE: "active", OTHER: "registered"}
    async with db.write() as uow:
        await uow.spaces.set_state(OTHER, "ready")
        await uow.spaces.activate(OTHER)
        await uow.commit()
    assert await states(db) == {SPACE: "ready", OTHER: "active"}
    with pytest.raises(StoreError):
        async with db.write() as uow:
            await uow.spaces.set_state(SPACE, "active")


async def test_two_activations_at_once_leave_one_active(db: Database, database_url: str) -> None:
    names = [f"sp-{i}" for i in range(4)]
    for name in names:
        await known(db, name, "ready")
    other = await Database.open(database_url, KEYS)

    async def activate(replica: Database, name: str) -> None:
        async with replica.write() as uow:
            await uow.spaces.lock_exclusive()
            assert await uow.spaces.activate(name)
            await uow.commit()

    await asyncio.gather(*(activate((db, other)[i % 2], name) for i, name in enumerate(names)))
    assert sorted((await states(db)).values()) == ["active", "ready", "ready", "ready", "ready"]
    await other.close()


async def test_one_runner_fills_a_space_until_its_lease_ends(db: Database) -> None:
    async def claimed(owner: str, lease_s: float) -> bool:
        async with db.write() as uow:
            claim = await uow.jobs.claim(owner, kinds=["backfill"], slot=None, lease_s=lease_s)
            await uow.commit()
            return claim is not None

    async with db.write() as uow:
        assert not await uow.backfills.begin(SPACE, "job-1"), "nobody asked for it"
        await uow.commit()
    assert not await claimed("one", 10), "nobody asked for it"
    async with db.write() as uow:
        await uow.jobs.add("job-1", "backfill", {"space_id": SPACE}, sole=None)
        await uow.backfills.request(SPACE, "job-1")
        await uow.commit()
    assert await claimed("one", 0.05)
    async with db.write() as uow:
        assert await uow.jobs.heartbeat("job-1", "one", lease_s=0.05)
        await uow.commit()
    await asyncio.sleep(0.1)
    assert await claimed("two", 10)
    assert not await claimed("three", 10)
    async with db.write() as uow:
        assert not await uow.jobs.heartbeat("job-1", "one", lease_s=10)
        assert not await uow.jobs.report("job-1", "one", progress=0.1)
        assert not await uow.jobs.release("job-1", "one")
        assert await uow.jobs.heartbeat("job-1", "two", lease_s=10)
        assert await uow.backfills.begin(SPACE, "job-1")
        assert await uow.backfills.report(SPACE, "job-1", {"added": 3})
        assert await uow.backfills.get(SPACE) == BackfillRecord(True, "job-1", {"added": 3})
        await uow.backfills.finish(SPACE, {"added": 4})
        assert await uow.backfills.get(SPACE) == BackfillRecord(False, None, {"added": 4})
        assert not await uow.backfills.begin(SPACE, "job-1")
        assert not await uow.backfills.report(SPACE, "job-1", {"added": 5})
        assert await uow.backfills.get(SPACE) == BackfillRecord(False, None, {"added": 4})
        await uow.commit()


async def test_a_space_uses_its_newest_bundle_and_deletion_leaves_nothing(db: Database) -> None:
    await known(db, OTHER)
    await enrolled(db, "anna", vector(1), vector(2))
    async with db.write() as uow:
        for digest, name in (("a" * 64, "first"), ("b" * 64, "second"), ("a" * 64, "first")):
            await uow.spaces.add_bundle(NewBundle(OTHER, digest, name, "1", {"dimension": D}))
            assert (await uow.spaces.newest_bundles())[OTHER].digest == digest
        samples = await uow.samples.of_subject("anna")
        made = await uow.templates.add_missing(
            OTHER, {s.sample_id: vector(5) for s in samples} | {"gone": vector(6)}
        )
        assert len(made) == 2
        assert await uow.templates.add_missing(OTHER, {s.sample_id: vector(5) for s in samples}) == []
        await uow.backfills.request(OTHER, "job-1")
        await uow.commit()
    async with db.write() as uow:
        assert sorted(await uow.spaces.delete(OTHER)) == ["a" * 64, "b" * 64]
        await uow.commit()
    async with db.read() as uow:
        assert await uow.spaces.get(OTHER) is None
        assert not await uow.spaces.has_bundle("a" * 64)
        assert await uow.templates.count(OTHER) == 0
        assert await uow.log.head(OTHER) == 0
        assert await uow.templates.count(SPACE) == 2
