"""Rename, merge and erase many in the store: rows, templates and the log that galleries follow agree."""

from __future__ import annotations

import asyncio

import numpy as np
from sqlalchemy import select

from service.store.database import Database
from service.store.records import Erased, Moved
from service.store.tables import templates
from service.store.unit import UnitOfWork
from tests.service.store.support import SPACE, enrol, enrolled, logged, new_sample, replay, vector, whole_log


async def held(db: Database) -> set[int]:
    async with db.read() as uow:
        return set((await uow.connection.execute(select(templates.c.template_id))).scalars())


async def consistent(db: Database) -> None:
    """What the log implies is what the table holds."""
    entries = await whole_log(db)
    assert logged(entries) == replay(entries) == await held(db)


async def stored_answer(uow: UnitOfWork, subject_id: str, key: str) -> None:
    await uow.idempotency.put("k", key, request_digest="0", subject_id=subject_id, status=201, body={})


async def test_a_renamed_subject_keeps_everything(db: Database) -> None:
    made = await enrolled(db, "anna", vector(1), vector(2))
    async with db.write() as uow:
        await uow.subjects.ensure("anna", {"desk": 1}, "Anna Ä")
        await stored_answer(uow, "anna", "1")
        await uow.commit()
    async with db.read() as uow:
        before = await uow.subjects.get("anna")
    log_before = await whole_log(db)
    async with db.write() as uow:
        await uow.subjects.lock(["anna", "berta"])
        await uow.subjects.rename("anna", "berta")
        await uow.commit()
    async with db.read() as uow:
        assert await uow.subjects.get("anna") is None
        after = await uow.subjects.get("berta")
        assert before is not None
        assert after is not None
        assert (after.metadata, after.display_name, after.created_at, after.sample_count) == (
            *(before.metadata, before.display_name, before.created_at),
            2,
        )
        owners = await uow.templates.owners(made)
        assert {owner.subject_id for owner in owners.values()} == {"berta"}
        assert {owner.display_name for owner in owners.values()} == {"Anna Ä"}
    assert [entry.seq for entry in await whole_log(db)] == [entry.seq for entry in log_before]
    async with db.write() as uow:
        await uow.subjects.delete("berta")
        assert await uow.idempotency.get("k", "1") is None
        await uow.commit()
    await consistent(db)


async def test_a_merge_moves_samples_and_drops_photos_that_both_have(db: Database) -> None:
    async with db.write() as uow:
        for subject_id, digests in (("anna", "12"), ("ann", "23")):
            await uow.subjects.ensure(subject_id, None)
            for digest in digests:
                sample = await uow.samples.add(new_sample(subject_id, digest * 64))
                await uow.templates.add(SPACE, sample, vector(int(digest)))
        await stored_answer(uow, "ann", "1")
        await uow.commit()
    async with db.write() as uow:
        await uow.subjects.lock(["anna", "ann"])
        assert await uow.subjects.absorb("anna", "ann") == Moved(moved=1, already_there=1)
        await uow.commit()
    async with db.read() as uow:
        assert await uow.subjects.get("ann") is None
        assert sorted(one.digest[0] for one in await uow.samples.of_subject("anna")) == ["1", "2", "3"]
        vectors = await uow.templates.vectors_of(SPACE, "anna")
        assert {row.tobytes() for row in vectors} == {vector(i).tobytes() for i in (1, 2, 3)}
    assert [entry.op for entry in await whole_log(db)].count("remove") == 1
    await consistent(db)
    async with db.write() as uow:
        await uow.subjects.delete("anna")
        assert await uow.idempotency.get("k", "1") is None
        await uow.commit()
    assert await held(db) == set()
    await consistent(db)


async def test_opposite_merges_at_once_leave_one_subject_with_everything(db: Database) -> None:
    for round_ in range(5):
        names = [f"{round_}-{name}" for name in "ab"]
        async with db.write() as uow:
            for i, subject_id in enumerate(names):
                await uow.subjects.ensure(subject_id, None)
                sample = await uow.samples.add(new_sample(subject_id, f"{round_}{i}" * 32))
                await uow.templates.add(SPACE, sample, vector(i))
            await uow.commit()

        async def merge(into: str, source: str) -> bool:
            async with db.write() as uow:
                await uow.subjects.lock([into, source])
                if await uow.subjects.get(into) is None or await uow.subjects.get(source) is None:
                    return False
                await uow.subjects.absorb(into, source)
                await uow.commit()
            return True

        done = await asyncio.gather(merge(*names), merge(*reversed(names)), merge(*names))
        assert sorted(done) == [False, False, True]
        async with db.read() as uow:
            left = [record for record in await uow.subjects.page(None, 100) if record.subject_id in names]
        assert [record.sample_count for record in left] == [2]
    await consistent(db)


async def test_a_merge_and_enrolments_at_once_lose_nothing(db: Database) -> None:
    await enrolled(db, "into", vector(0))
    await enrolled(db, "from", vector(1))

    async def enrol_some(subject_id: str, first: int) -> None:
        for i in range(first, first + 5):
            async with db.write() as uow:
                await uow.subjects.ensure(subject_id, None)
                sample = await uow.samples.add(new_sample(subject_id, f"{i:02}" * 32))
                await uow.spaces.lock_shared()
                await uow.templates.add(SPACE, sample, vector(i))
                await uow.commit()

    async def merge() -> None:
        async with db.write() as uow:
            await uow.subjects.lock(["into", "from"])
            await uow.subjects.absorb("into", "from")
            await uow.commit()

    await asyncio.gather(enrol_some("from", 10), merge(), enrol_some("into", 20))
    async with db.read() as uow:
        kept = [await uow.templates.vectors_of(SPACE, name) for name in ("into", "from")]
    rows = {row.tobytes() for part in kept for row in np.atleast_2d(part) if row.size}
    # The first photos of both have one digest, so one of the two stays.
    assert rows >= {vector(i).tobytes() for i in (*range(10, 15), *range(20, 25), 0)}
    await consistent(db)


async def test_many_are_erased_together(db: Database) -> None:
    async with db.write() as uow:
        for i in range(30):
            await enrol(uow, f"s{i}", *(vector(i * 10 + j) for j in range(i % 3)))
        await uow.commit()
    wanted = [f"s{i}" for i in range(20)] + ["nobody"]
    async with db.write() as uow:
        erased = await uow.subjects.begin_erasure(wanted)
        await uow.subjects.end_erasure(list(erased))
        await uow.commit()
    assert erased == {f"s{i}": Erased(i % 3, i % 3, 0) for i in range(20)}
    async with db.read() as uow:
        assert {one.subject_id for one in await uow.subjects.page(None, 100)} == {
            f"s{i}" for i in range(20, 30)
        }
        assert await uow.subjects.begin_erasure(["nobody"]) == {}
    await consistent(db)


async def test_erasures_of_many_in_opposite_order_do_not_wait_for_each_other(db: Database) -> None:
    names = [f"s{i}" for i in range(12)]
    async with db.write() as uow:
        for i, name in enumerate(names):
            await enrol(uow, name, vector(i))
        await uow.commit()

    async def erase(chosen: list[str]) -> int:
        async with db.write() as uow:
            erased = await uow.subjects.begin_erasure(chosen)
            await uow.subjects.end_erasure(list(erased))
            await uow.commit()
        return len(erased)

    done = await asyncio.gather(erase(names), erase(names[::-1]), erase(names[6:]))
    assert sum(done) == 12
    assert await held(db) == set()
    await consistent(db)
