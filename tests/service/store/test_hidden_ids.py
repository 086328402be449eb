"""No table holds the id of a subject: the ids of older releases become tokens, and one key finds them."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, text, update

from service.sealing.keys import MasterKeyError
from service.sealing.sources import KeyFile, MasterKeys
from service.sealing.tokens import IdKey
from service.store.clear_rows import seal_clear_rows
from service.store.columns import metadata
from service.store.database import Database
from service.store.errors import StoreError
from service.store.records import StoredAnswer
from service.store.tables import id_keys, subject_keys, subjects
from service.subjects.residue import Trace, search
from tests.service.store.older import show_ids
from tests.service.store.support import KEYS, SPACE, D, enrol, enrolled, new_sample, token_of, vector

SUBJECTS, KILLS = 120, 4
MARK = "upgrade-me-"


def no_old_crop(*_crop: object) -> bytes | None:
    return None


async def everything(db: Database) -> str:
    """All rows of all tables, as text."""
    async with db.read() as uow:
        rows = [(await uow.connection.execute(select(table))).all() for table in metadata.sorted_tables]
    return repr(rows)


def test_a_token_says_nothing_and_belongs_to_one_key() -> None:
    key, other = IdKey.new(), IdKey.new()
    tokens = {key.token(f"s{i}") for i in range(1000)}
    assert len(tokens) == 1000
    assert all(len(token) == 33 and token[0] == "~" for token in tokens)
    assert key.token("s1") == key.token("s1") != other.token("s1")
    # A token names its subject as the id does.
    assert key.token(key.token("s1")) == key.token("s1")
    # HMAC-SHA-256 under a key of its own purpose (HKDF): by hand, with the key of 32 zeros.
    assert IdKey(bytes(32)).token("anna") == "~d49e7c2b413a3cf663fa92501f1e395c"
    assert key.answer_token("k", "anna") != key.answer_token("k2", "anna")
    assert len(key.answer_token("k", "anna" * 50)) == 65


async def test_no_table_holds_an_id_and_whoever_asks_by_it_gets_it_back(db: Database) -> None:
    (first, second), other = await enrolled(db, "anna-oak", vector(1), vector(2)), "bert-oak"
    await enrolled(db, other, vector(3))
    async with db.write() as uow:
        await uow.idempotency.put(
            "k", "for anna-oak", request_digest="d", subject_id="anna-oak", status=201, body={"a": "anna-oak"}
        )
        await uow.audit.add("k", "subject.enrol", "anna-oak", {})
        await uow.subjects.rename("anna-oak", "carl-oak")
        await uow.commit()
    assert "-oak" not in await everything(db)
    async with db.read() as uow:
        assert await uow.subjects.get("anna-oak") is None
        found = await uow.subjects.get("carl-oak")
        assert found is not None
        assert (found.subject_id, found.sample_count) == ("carl-oak", 2)
        assert sorted(one.subject_id for one in await uow.subjects.page(None, 9)) == [other, "carl-oak"]
        assert {one.subject_id for one in (await uow.templates.owners([first, second])).values()} == {
            "carl-oak"
        }
        assert {one.owner.subject_id for one in await uow.templates.of_subject(SPACE, "carl-oak")} == {
            "carl-oak"
        }
        assert {one.subject_id for one in await uow.samples.of_subject("carl-oak")} == {"carl-oak"}
        assert await uow.idempotency.get("k", "for anna-oak") == StoredAnswer("d", 201, {"a": "anna-oak"})
        assert await uow.idempotency.get("k", "for bert-oak") is None
    async with db.write(erasing=True) as uow:
        erased = await uow.subjects.begin_erasure(["carl-oak", "nobody"])
        assert set(erased) == {"carl-oak"}
        await uow.subjects.end_erasure(list(erased))
        await uow.commit()
    async with db.read() as uow:
        assert [one.subject_id for one in await uow.subjects.page(None, 9)] == [other]
        assert await uow.idempotency.get("k", "for anna-oak") is None


async def older(url: str, file: Path) -> dict[str, str]:
    """Fills a database as 0.6.0 left it; returns the names in the audit log by subject."""
    db = await Database.open(url, MasterKeys(KeyFile(file)))
    await db.migrate()
    await seal_clear_rows(db, no_old_crop)
    names = [f"{MARK}{i:03}" for i in range(SUBJECTS)]
    async with db.write() as uow:
        await uow.spaces.register(SPACE, "bundle", D, "active")
        for i, name in enumerate(names):
            await enrol(uow, name, vector(i))
            await uow.subjects.change(name, metadata={"number": i}, display_name=f"Nr {i}")
            await uow.idempotency.put(
                "k", f"key of {name}", request_digest=f"d{i}", subject_id=name, status=201, body={"i": i}
            )
        known = await uow.audit.names_of(names)
        await show_ids(uow, names, [("k", f"key of {name}") for name in names])
        await uow.commit()
    if db.dialect == "postgresql":
        # The statistics of a column hold values of it.
        async with db.write() as uow:
            await uow.connection.execute(text("ANALYZE"))
            await uow.connection.commit()
    await db.close()
    return known


async def clear_bytes(url: str) -> list[str]:
    """The files that show an id in clear: of SQLite all, of PostgreSQL those of this database."""
    db = await Database.open(url)
    if db.file is not None:
        place = db.file.parent
    else:
        async with db.read() as uow:
            await uow.connection.execute(text("CHECKPOINT"))
            place = Path((await uow.connection.execute(text("SHOW data_directory"))).scalar_one())
            query = text("SELECT oid FROM pg_database WHERE datname = current_database()")
            number = (await uow.connection.execute(query)).scalar_one()
        place = place / "base" / str(number)
    await db.close()
    found, _ = search([place], [Trace("id", (MARK.encode(),))])
    return [one.path.name for one in found]


async def test_an_upgrade_killed_at_any_moment_goes_on_and_no_id_is_left(
    database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "keys").mkdir()
    file, moments = tmp_path / "keys" / "master.key", random.Random(3)
    known = await older(database_url, file)
    assert await clear_bytes(database_url)
    command = [sys.executable, "-m", "tests.service.store.hider", database_url, str(file)]
    moved: list[int] = []
    for kill in range(KILLS + 1):
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        # Amid the portions; after the last, before the database is written anew; and never.
        wanted = moments.randint(1, 4) if kill < KILLS - 1 else SUBJECTS
        while wanted and (line := await process.stdout.readline()):
            moved.append(int(line))
            wanted = wanted - 1 if moved[-1] else 0
        if kill < KILLS:
            await asyncio.sleep(moments.uniform(0, 0.02))
            process.kill()
        assert await process.wait() == (-9 if kill < KILLS else 0)
    # Each run went on where the last had been killed, which may have told less than it had done.
    assert moved[-2:] == [0, 0]
    assert SUBJECTS - 5 * KILLS <= sum(moved) <= SUBJECTS
    assert await clear_bytes(database_url) == []
    db = await Database.open(database_url, MasterKeys(KeyFile(file)))
    await db.migrate()
    assert await seal_clear_rows(db, no_old_crop) == 0
    async with db.read() as uow:
        assert {one.subject_id for one in await uow.subjects.page(None, 1000)} == set(known)
        snapshot = await uow.log.snapshot(SPACE)
        owners = await uow.templates.owners(snapshot.ids.tolist())
        for row, template_id in zip(snapshot.vectors, snapshot.ids.tolist(), strict=True):
            number = int(owners[template_id].subject_id.removeprefix(MARK))
            assert row.tolist() == vector(number).tolist()
            assert owners[template_id].metadata == {"number": number}
        for i, name in enumerate(sorted(known)):
            assert await uow.idempotency.get("k", f"key of {name}") == StoredAnswer(f"d{i}", 201, {"i": i})
            record = await uow.subjects.get(name)
            assert record is not None
            assert (record.display_name, record.sample_count) == (f"Nr {i}", 1)
        assert {name: await uow.audit.find_name(name) for name in known} == known
    assert not db.refused
    await db.close()


async def test_clear_ids_wait_for_the_start_of_the_service(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "master.key"
    await older(database_url, file)
    db = await Database.open(database_url, MasterKeys(KeyFile(file)))
    await db.migrate()
    # Nobody is said to be absent who is not.
    with pytest.raises(StoreError, match="start the service once"):
        async with db.write() as uow:
            await uow.subjects.delete(f"{MARK}001")
    with pytest.raises(StoreError, match="start the service once"):
        async with db.write() as uow:
            await uow.subjects.ensure("new", None)
    await db.close()


async def test_a_subject_whose_key_does_not_open_is_hidden_as_well(database_url: str, tmp_path: Path) -> None:
    file, broken = tmp_path / "master.key", f"{MARK}007"
    await older(database_url, file)
    db = await Database.open(database_url, MasterKeys(KeyFile(file)))
    await db.migrate()
    async with db.write() as uow:
        place = update(subject_keys).where(subject_keys.c.subject_id == broken)
        await uow.connection.execute(place.values(wrapped=bytes(60)))
        await uow.commit()
    assert await seal_clear_rows(db, no_old_crop) == SUBJECTS
    assert MARK not in await everything(db)
    token = await token_of(db, broken)
    async with db.read() as uow:
        record = await uow.subjects.get(broken)
        assert record is not None
        assert (record.subject_id, record.metadata, record.sample_count) == (broken, {}, 1)
        listed = [one.subject_id for one in await uow.subjects.page(None, 1000)]
    assert len(listed) == SUBJECTS
    # Who does not know the id sees its token, and may erase by it.
    assert [one for one in listed if one.startswith("~")] == [token]
    assert db.refused
    async with db.write(erasing=True) as uow:
        assert await uow.subjects.delete(token) is not None
        await uow.commit()
    async with db.read() as uow:
        assert await uow.subjects.get(broken) is None
    await db.close()


async def test_a_foreign_id_is_refused(db: Database) -> None:
    (template_id,) = await enrolled(db, "anna", vector(1))
    await enrolled(db, "bert", vector(2))
    anna, bert = await token_of(db, "anna"), await token_of(db, "bert")
    async with db.write() as uow:
        other = select(subjects.c.sealed_id).where(subjects.c.subject_id == bert).scalar_subquery()
        await uow.connection.execute(
            update(subjects).where(subjects.c.subject_id == anna).values(sealed_id=other)
        )
        await uow.commit()
    async with db.read() as uow:
        assert {one.subject_id for one in await uow.subjects.page(None, 9)} == {anna, "bert"}
        assert (await uow.templates.owners([template_id]))[template_id].subject_id == anna
    assert str(db.refused).startswith("1 stored row does not open and is refused: subject id under")


async def test_a_row_in_clear_that_appears_later_is_nobody(db: Database) -> None:
    await seal_clear_rows(db, no_old_crop)
    await enrolled(db, "anna", vector(1))
    async with db.write() as uow:
        row = {"subject_id": "bert", "metadata": {}}
        now = (await uow.subjects.page(None, 1))[0].created_at
        await uow.connection.execute(insert(subjects).values(**row, created_at=now, updated_at=now))
        await uow.commit()
    async with db.read() as uow:
        assert [one.subject_id for one in await uow.subjects.page(None, 9)] == ["anna"]
        assert await uow.subjects.get("bert") is None
    assert await seal_clear_rows(db, no_old_crop) == 0


async def test_a_lost_or_changed_key_of_ids_stops_the_start(database_url: str) -> None:
    async def start() -> None:
        db = await Database.open(database_url, KEYS)
        try:
            await db.migrate()
        finally:
            await db.close()

    await start()
    db = await Database.open(database_url, KEYS)
    # An empty database gets a new one.
    async with db.write() as uow:
        await uow.connection.execute(delete(id_keys))
        await uow.commit()
    await start()
    async with db.write() as uow:
        await uow.subjects.ensure("anna", None)
        await uow.commit()
        kept = (await uow.connection.execute(select(id_keys))).mappings().one()
    async with db.write() as uow:
        await uow.connection.execute(update(id_keys).values(wrapped=bytes(60)))
        await uow.commit()
    with pytest.raises(MasterKeyError, match=r"ids was changed .* restore"):
        await start()
    async with db.write() as uow:
        await uow.connection.execute(delete(id_keys))
        await uow.commit()
    with pytest.raises(MasterKeyError, match=r"ids is missing .* restore"):
        await start()
    async with db.write() as uow:
        await uow.connection.execute(insert(id_keys).values(**kept))
        await uow.commit()
    await start()
    await db.close()


async def test_samples_name_the_subject_that_was_asked_for(db: Database) -> None:
    async with db.write() as uow:
        await uow.subjects.ensure("anna", None)
        await uow.samples.add(new_sample("anna", "1" * 64))
        token = await uow.subject_keys.ids.token("anna")
        for asked in ("anna", token):
            (sample,) = await uow.samples.of_subject(asked)
            assert (sample.subject_id, sample.digest) == (asked, "1" * 64)
        with pytest.raises(StoreError, match="no new subject"):
            await uow.subjects.ensure("~" + "0" * 32, None)
