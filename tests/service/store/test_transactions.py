"""Tests that concurrent writers, several processes and failures leave the database consistent."""

from __future__ import annotations

import asyncio
import sys

import numpy as np
import pytest
from sqlalchemy import text

from service.store.database import Database
from service.store.errors import StoreError
from tests.conftest import REPO
from tests.service.store.support import (
    KEYS,
    OTHER,
    SPACE,
    D,
    enrol,
    enrolled,
    logged,
    replay,
    vector,
    whole_log,
)


async def follow(db: Database, until: int) -> list[int]:
    """Reads the log like a replica while others write; returns the numbers in the order seen."""
    seen: list[int] = []
    while len(seen) < until:
        async with db.read() as uow:
            entries = await uow.log.tail(SPACE, seen[-1] if seen else 0, 7)
        seen += [entry.seq for entry in entries]
        await asyncio.sleep(0.001)
    return seen


async def test_without_commit_nothing_is_stored(db: Database) -> None:
    async with db.write() as uow:
        await enrol(uow, "anna", vector(1))
    with pytest.raises(RuntimeError, match="mine"):
        async with db.write() as uow:
            await enrol(uow, "anna", vector(1))
            raise RuntimeError("mine")
    async with db.read() as uow:
        assert await uow.subjects.count() == 0
        assert await uow.log.head(SPACE) == 0
    await enrolled(db, "anna", vector(1))
    assert [entry.seq for entry in await whole_log(db)] == [1]


async def test_a_commit_that_fails_raises_and_leaves_nothing(db: Database) -> None:
    async with db.write() as uow:
        # The database checks this at the commit, so COMMIT itself fails.
        await uow.connection.execute(
            text(
                "CREATE TABLE fault (subject_id VARCHAR(128) REFERENCES subjects (subject_id)"
                " DEFERRABLE INITIALLY DEFERRED)"
            )
        )
        await uow.commit()
    reached = False
    with pytest.raises(StoreError):
        async with db.write() as uow:
            await enrol(uow, "anna", vector(1))
            await uow.connection.execute(text("INSERT INTO fault VALUES ('nobody')"))
            reached = True
            await uow.commit()
    assert reached
    async with db.read() as uow:
        assert await uow.subjects.count() == 0
        assert await uow.log.head(SPACE) == 0
    await enrolled(db, "anna", vector(1))
    async with db.read() as uow:
        assert await uow.templates.count(SPACE) == 1


async def test_a_cancelled_writer_leaves_nothing_and_blocks_nobody(db: Database) -> None:
    inside = asyncio.Event()

    async def hang() -> None:
        async with db.write() as uow:
            await enrol(uow, "anna", vector(1))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await enrolled(db, "bert", vector(1))
    async with db.read() as uow:
        assert [subject.subject_id for subject in await uow.subjects.page(None, 10)] == ["bert"]


async def test_a_reader_of_the_log_skips_nothing_beside_many_writers(db: Database, database_url: str) -> None:
    writers, each = 12, 8
    other = await Database.open(database_url, KEYS)

    async def write(replica: Database, name: str) -> None:
        for i in range(each):
            async with replica.write() as uow:
                await enrol(uow, name, vector(i), vector(i + 1))
                await asyncio.sleep(0.001 * (i % 3))
                await uow.commit()

    total = writers * each * 2
    tasks = [write((db, other)[i % 2], f"s{i}") for i in range(writers)]
    seen, *_ = await asyncio.gather(follow(db, total), *tasks)
    assert seen == list(range(1, total + 1))
    await other.close()


async def test_processes_that_start_together_write_one_consistent_log(database_url: str) -> None:
    processes, each = 3, 15
    running = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.service.store.writer", database_url, f"p{i}", str(each)),
            cwd=REPO,
            stderr=asyncio.subprocess.PIPE,
        )
        for i in range(processes)
    ]
    db = await Database.open(database_url, KEYS)
    await db.migrate()
    async with db.write() as uow:
        await uow.spaces.register(SPACE, "bundle", D, "registered")
        await uow.commit()
    following = asyncio.create_task(follow(db, processes * each))
    for process in running:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()[-2000:]
    assert await following == list(range(1, processes * each + 1))
    async with db.read() as uow:
        assert await uow.subjects.count() == processes * 5
        snapshot = await uow.log.snapshot(SPACE)
    assert set(snapshot.ids.tolist()) == replay(await whole_log(db))
    await db.close()


async def test_concurrent_enrolments_of_a_new_subject_create_one_subject(db: Database) -> None:
    async def one(i: int) -> None:
        async with db.write() as uow:
            await uow.subjects.ensure("anna", {"i": i})
            await enrol(uow, "anna", vector(i))
            await uow.commit()

    await asyncio.gather(*(one(i) for i in range(10)))
    async with db.read() as uow:
        anna = await uow.subjects.get("anna")
        assert anna is not None
        assert anna.sample_count == 10
        assert anna.metadata["i"] in range(10)
        assert await uow.subjects.count() == 1


async def test_erasures_that_race_enrolments_leave_no_template(db: Database) -> None:
    async def enrol_often(seed: int) -> None:
        for i in range(12):
            await enrolled(db, "anna", vector(seed), vector(seed + i))

    async def erase_often() -> None:
        for _ in range(12):
            async with db.write() as uow:
                await uow.subjects.delete("anna")
                await uow.commit()

    async def erase_samples_often() -> None:
        for _ in range(12):
            async with db.write() as uow:
                for sample in (await uow.samples.of_subject("anna"))[:1]:
                    await uow.samples.delete("anna", sample.sample_id)
                await uow.commit()

    await asyncio.gather(enrol_often(1), enrol_often(2), erase_often(), erase_samples_often())
    entries = await whole_log(db)
    async with db.read() as uow:
        snapshot = await uow.log.snapshot(SPACE)
    assert logged(entries) == replay(entries) == set(snapshot.ids.tolist())
    assert snapshot.seq == entries[-1].seq == len(entries)


async def test_an_erasure_waits_for_a_backfill_of_the_same_sample(db: Database) -> None:
    """A job adds a template in another space without touching the subject's row."""
    await enrolled(db, "anna", vector(1))
    async with db.write() as uow:
        await uow.spaces.register(OTHER, "newer", D, "backfilling")
        await uow.commit()

    async def erase() -> None:
        async with db.write() as uow:
            await uow.subjects.delete("anna")
            await uow.commit()

    async with db.write() as uow:
        (sample,) = await uow.samples.of_subject("anna")
        await uow.templates.add(OTHER, sample.sample_id, vector(2))
        erasing = asyncio.create_task(erase())
        done, _ = await asyncio.wait([erasing], timeout=0.3)
        assert not done
        await uow.commit()
    await erasing
    assert [entry.op for entry in await whole_log(db, OTHER)] == ["add", "remove"]
    assert logged(await whole_log(db)) == set()


async def test_a_snapshot_and_the_log_after_it_give_the_present_templates(db: Database) -> None:
    await enrolled(db, "anna", vector(1), vector(2))
    await enrolled(db, "bert", vector(3))
    async with db.read() as uow:
        snapshot = await uow.log.snapshot(SPACE)
    assert (snapshot.seq, snapshot.vectors.shape) == (3, (3, D))
    assert snapshot.vectors.dtype == np.float32
    assert np.array_equal(snapshot.vectors, np.stack([vector(1), vector(2), vector(3)]))
    (added,) = await enrolled(db, "carl", vector(4))
    async with db.write() as uow:
        await uow.subjects.delete("anna")
        await uow.commit()
    async with db.read() as uow:
        tail = await uow.log.tail(SPACE, snapshot.seq, 100)
    assert [(entry.seq, entry.op) for entry in tail] == [(4, "add"), (5, "remove"), (6, "remove")]
    assert tail[0].vector is not None
    assert np.array_equal(tail[0].vector, vector(4))
    assert set(snapshot.ids.tolist()) - {e.template_id for e in tail[1:]} | {added} == replay(
        await whole_log(db)
    )


async def test_an_empty_space_has_an_empty_snapshot(db: Database) -> None:
    async with db.read() as uow:
        snapshot = await uow.log.snapshot(SPACE)
        assert (snapshot.seq, snapshot.ids.shape, snapshot.vectors.shape) == (0, (0,), (0, D))
        assert await uow.log.tail(SPACE, 0, 10) == []
        with pytest.raises(StoreError):
            await uow.log.snapshot("sp-none")
