"""The master key changes while others write; a rotation that is killed goes on."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from service.sealing.keys import MasterKeyError
from service.sealing.sources import GivenKeys, KeyFile, MasterKeys
from service.store import rotation
from service.store.clear_rows import seal_clear_rows
from service.store.database import Database
from service.store.errors import StoreBusy, StoreError
from service.store.tables import id_keys, master_keys, subject_keys
from tests.service.store.support import SPACE, D, enrolled, vector

KILLS = 2
SUBJECTS = 300


def no_old_crop(*_crop: object) -> bytes | None:
    return None


async def opened(url: str, file: Path) -> Database:
    db = await Database.open(url, MasterKeys(KeyFile(file)))
    await db.migrate()
    await seal_clear_rows(db, no_old_crop)
    return db


async def masters_of(db: Database) -> tuple[set[str], set[str]]:
    """Those that wrap keys, and those that the database knows."""
    async with db.read() as uow:
        keys = select(subject_keys.c.master_id).union(select(id_keys.c.master_id))
        wrapping = await uow.connection.execute(keys)
        known = await uow.connection.execute(select(master_keys.c.key_id))
        return set(wrapping.scalars()), set(known.scalars())


async def test_a_rotation_killed_at_any_moment_goes_on_while_others_write(
    database_url: str, tmp_path: Path
) -> None:
    file, moments = tmp_path / "keys" / "master.key", random.Random(5)
    file.parent.mkdir()
    db = await opened(database_url, file)
    async with db.write() as uow:
        await uow.spaces.register(SPACE, "bundle", D, "active")
        for i in range(SUBJECTS):
            await uow.subjects.ensure(f"s{i:04}", {"number": i})
        await uow.commit()
    first = KeyFile(file).read()
    written: list[tuple[str, int]] = []
    enough = asyncio.Event()

    async def write() -> None:
        # Never told of the new key: finds it by itself.
        while not enough.is_set():
            name = f"late{len(written)}"
            try:
                (template_id,) = await enrolled(db, name, vector(len(written)))
            except StoreBusy:
                # The other process migrates, on a busy machine.
                continue
            written.append((name, template_id))
            await asyncio.sleep(0.05)

    writer = asyncio.create_task(write())
    command = [sys.executable, "-m", "tests.service.store.rotator", database_url, str(file)]
    ended = []
    for kill in range(KILLS + 1):
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"begins\n"
        if kill < KILLS:
            await asyncio.sleep(moments.uniform(0, 0.3))
            process.kill()
        ended.append(await process.wait())
        assert not writer.done()
    # Cancelled, it might have committed what it has not told.
    enough.set()
    await writer
    assert ended[-1] == 0
    assert -9 in ended[:-1]
    now = KeyFile(file).read()
    assert len(now) == 1
    assert now != first
    wrapping, known = await masters_of(db)
    assert wrapping == known
    assert len(known) == 1
    await db.close()
    again = await opened(database_url, file)
    async with again.read() as uow:
        snapshot = await uow.log.snapshot(SPACE)
        assert snapshot.ids.tolist() == [template_id for _, template_id in written]
        for i in range(0, SUBJECTS, 100):
            record = await uow.subjects.get(f"s{i:04}")
            assert record is not None
            assert record.metadata == {"number": i}
    assert not again.refused
    await again.close()
    # What the old key wrapped does not open any more.
    file.write_text(first[0].hex())
    lost = await Database.open(database_url, MasterKeys(KeyFile(file)))
    with pytest.raises(MasterKeyError, match="does not hold"):
        await lost.migrate()
    await lost.close()


async def test_a_given_key_rotates_to_the_first_of_several(tmp_path: Path) -> None:
    url, old, new = f"sqlite+aiosqlite:///{tmp_path / 'halflight.db'}", "ab" * 32, "cd" * 32

    async def given(text: str) -> Database:
        db = await Database.open(url, MasterKeys(GivenKeys(text)))
        await db.migrate()
        await seal_clear_rows(db, no_old_crop)
        return db

    db = await given(old)
    async with db.write() as uow:
        await uow.subjects.ensure("anna", {"desk": 1})
        await uow.commit()
    with pytest.raises(MasterKeyError, match="put a new one before it"):
        await rotation.rotate_master(db)
    await db.close()
    db = await given(f"{new},{old}")
    assert (await rotation.rotate_master(db)).subjects == 1
    await db.close()
    db = await given(new)
    async with db.read() as uow:
        record = await uow.subjects.get("anna")
        assert record is not None
        assert record.metadata == {"desk": 1}
    await db.close()


async def test_a_key_that_does_not_open_keeps_the_old_master_key(tmp_path: Path) -> None:
    url, file = f"sqlite+aiosqlite:///{tmp_path / 'halflight.db'}", tmp_path / "master.key"
    db = await opened(url, file)
    async with db.write() as uow:
        await uow.subjects.ensure("anna", None)
        await uow.subjects.ensure("bert", None)
        anna = await uow.subject_keys.ids.token("anna")
        broken = subject_keys.update().where(subject_keys.c.subject_id == anna)
        await uow.connection.execute(broken.values(wrapped=bytes(60)))
        await uow.commit()
    with pytest.raises(StoreError, match=f"does not open.* erase '{anna}'"):
        await rotation.rotate_master(db)
    assert len(KeyFile(file).read()) == 2
    async with db.write() as uow:
        # By what the message named: nobody may know the id.
        assert await uow.subjects.delete(anna) is not None
        await uow.commit()
    done = await rotation.rotate_master(db)
    assert done.resumed
    assert len(KeyFile(file).read()) == 1
    await db.close()


async def test_clear_rows_are_sealed_before_the_key_changes(tmp_path: Path) -> None:
    db = await Database.open(
        f"sqlite+aiosqlite:///{tmp_path / 'halflight.db'}", MasterKeys(KeyFile(tmp_path / "master.key"))
    )
    await db.migrate()
    with pytest.raises(StoreError, match="start the service"):
        await rotation.rotate_master(db)
    await db.close()
