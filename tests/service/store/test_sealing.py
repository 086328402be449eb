"""What lies in the tables: nothing in clear, nothing that opens elsewhere, nothing that outlives its key."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete, func, insert, select, update

from service.sealing.keys import MasterKeyError
from service.sealing.sources import GivenKeys, KeyFile, MasterKeys
from service.store.clear_rows import seal_clear_rows
from service.store.database import Database
from service.store.errors import StoreError
from service.store.gallery_log import to_bytes
from service.store.tables import (
    crops,
    idempotency,
    master_keys,
    samples,
    subject_keys,
    subjects,
    templates,
)
from tests.service.store.older import show_ids
from tests.service.store.support import KEYS, SPACE, enrol, enrolled, new_sample, vector, whole_log


def sqlite_url(directory: Path) -> str:
    return f"sqlite+aiosqlite:///{directory / 'halflight.db'}"


def everything(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


async def stored(db: Database) -> dict[int, bytes]:
    async with db.read() as uow:
        rows = await uow.connection.execute(select(templates.c.template_id, templates.c.vector))
        return {row.template_id: row.vector for row in rows}


async def test_swapped_vectors_are_refused_by_name_and_the_others_load(db: Database) -> None:
    one, other = await enrolled(db, "anna", vector(1), vector(2))
    (bert,) = await enrolled(db, "bert", vector(3))
    (carl,) = await enrolled(db, "carl", vector(4))
    raw = await stored(db)
    # Between subjects, and between two samples of one subject.
    for swapped, kept in (((one, bert), {other, carl}), ((one, other), {bert, carl})):
        async with db.write() as uow:
            for here, there in (swapped, swapped[::-1]):
                change = update(templates).where(templates.c.template_id == here)
                await uow.connection.execute(change.values(vector=raw[there]))
            snapshot = await uow.log.snapshot(SPACE)
            entries = await uow.log.tail(SPACE, 0, 100)
        assert set(snapshot.ids.tolist()) == kept
        assert {entry.template_id for entry in entries if entry.vector is not None} == kept
        assert all(f"template {i}" in db.refused for i in swapped)
        assert "are refused: template" in str(db.refused)
        for name in swapped:
            db.refused.discard(f"template {name}")
    async with db.read() as uow:
        whole = await uow.log.snapshot(SPACE)
    assert np.array_equal(whole.vectors, np.stack([vector(i) for i in (1, 2, 3, 4)]))
    assert not db.refused


async def test_a_sample_moved_to_another_subject_by_sql_opens_no_more(db: Database) -> None:
    (moved,) = await enrolled(db, "anna", vector(1))
    await enrolled(db, "bert", vector(2))
    async with db.write() as uow:
        owner = (await uow.templates.owners([moved]))[moved]
        bert = await uow.subject_keys.ids.token("bert")
        place = update(samples).where(samples.c.sample_id == owner.sample_id)
        await uow.connection.execute(place.values(subject_id=bert))
        assert moved not in (await uow.log.snapshot(SPACE)).ids
        assert len(await uow.templates.vectors_of(SPACE, "bert")) == 1


async def test_keys_swapped_between_subjects_open_nothing(db: Database) -> None:
    await enrolled(db, "anna", vector(1))
    await enrolled(db, "bert", vector(2))
    async with db.write() as uow:
        rows = (await uow.connection.execute(select(subject_keys))).all()
        for here, there in (rows, rows[::-1]):
            change = update(subject_keys).where(subject_keys.c.subject_id == here.subject_id)
            await uow.connection.execute(change.values(key_id=there.key_id, wrapped=there.wrapped))
        assert len((await uow.log.snapshot(SPACE)).ids) == 0


async def test_a_foreign_description_is_refused_and_never_written_over(db: Database) -> None:
    async with db.write() as uow:
        await uow.subjects.ensure("anna", {"desk": 1}, "Anna")
        await uow.subjects.ensure("bert", {"desk": 2}, "Bert")
        await uow.commit()
    async with db.write() as uow:
        anna, other = [await uow.subject_keys.ids.token(name) for name in ("anna", "bert")]
        bert = select(subjects.c.sealed).where(subjects.c.subject_id == other).scalar_subquery()
        await uow.connection.execute(
            update(subjects).where(subjects.c.subject_id == anna).values(sealed=bert)
        )
        await uow.commit()
    async with db.read() as uow:
        found = await uow.subjects.get("anna")
        assert found is not None
        assert (found.metadata, found.display_name) == ({}, None)
    assert len(db.refused) == 1
    with pytest.raises(StoreError, match="does not open"):
        async with db.write() as uow:
            await uow.subjects.change("anna", display_name="Anna B")
    # Erasure needs no key.
    async with db.write(erasing=True) as uow:
        assert await uow.subjects.delete("anna") is not None
        await uow.commit()


async def test_the_key_goes_with_its_subject(db: Database) -> None:
    await enrolled(db, "anna", vector(1))
    await enrolled(db, "bert", vector(2))
    async with db.write(erasing=True) as uow:
        await uow.subjects.delete("anna")
        await uow.commit()
    async with db.read() as uow:
        kept = (await uow.connection.execute(select(subject_keys.c.subject_id))).scalars().all()
        assert kept == [await uow.subject_keys.ids.token("bert")]
        with pytest.raises(StoreError, match="key of the subject"):
            await uow.subject_keys.of_subject("anna")


async def test_a_wrong_or_lost_master_key_is_refused_and_none_is_made(tmp_path: Path) -> None:
    file = tmp_path / "master.key"
    db = await Database.open(sqlite_url(tmp_path), MasterKeys(KeyFile(file)))
    await db.migrate()
    text = file.read_text()
    await db.migrate()
    await db.close()
    file.unlink()
    for source in (KeyFile(file), GivenKeys("ab" * 32)):
        db = await Database.open(sqlite_url(tmp_path), MasterKeys(source))
        with pytest.raises(MasterKeyError, match="does not hold") as caught:
            await db.migrate()
        assert "abab" not in str(caught.value)
        await db.close()
    assert not file.exists()
    db = await Database.open(sqlite_url(tmp_path), MasterKeys(GivenKeys(text)))
    await db.migrate()
    await db.close()


async def test_replicas_that_start_together_agree_on_one_master_key(
    database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "master.key"
    replicas = [await Database.open(database_url, MasterKeys(KeyFile(file))) for _ in range(4)]
    await asyncio.gather(*(replica.migrate() for replica in replicas))
    async with replicas[0].read() as uow:
        assert (await uow.connection.execute(select(func.count()).select_from(master_keys))).scalar() == 1
    await asyncio.gather(*(replica.close() for replica in replicas))


def no_old_crop(*_crop: object) -> bytes | None:
    return None


async def make_clear(db: Database, names: list[str]) -> None:
    """Subjects as releases up to 0.5.0 stored them, with `SECRET-` in what describes them."""
    async with db.write() as uow:
        for (template_id,) in (await uow.connection.execute(select(templates.c.template_id))).all():
            place = update(templates).where(templates.c.template_id == template_id)
            await uow.connection.execute(place.values(vector=to_bytes(vector(template_id))))
        for name in names:
            secret = f"SECRET-{name}"
            clear = {"metadata": {"note": secret}, "display_name": secret, "sealed": None}
            token = await uow.subject_keys.ids.token(name)
            await uow.connection.execute(update(subjects).where(subjects.c.subject_id == token).values(clear))
            await uow.idempotency.put("scope", name, request_digest="0", subject_id=name, status=201, body={})
            answer = update(idempotency).where(idempotency.c.subject_id == token)
            shown = {"key": name, "request_digest": "0", "body": {"note": secret}, "sealed": None}
            await uow.connection.execute(answer.values(shown))
        await show_ids(uow, names)
        await uow.connection.execute(delete(subject_keys))
        await uow.connection.execute(update(master_keys).values(all_sealed=False))
        await uow.commit()


async def test_what_an_older_release_stored_in_clear_is_sealed_and_its_bytes_vanish(db: Database) -> None:
    # More than one transaction takes.
    names = [f"old-{i:02}" for i in range(60)]
    async with db.write() as uow:
        for name in names:
            await enrol(uow, name, vector(0))
        await uow.commit()
    ids = sorted(await stored(db))
    async with db.write() as uow:
        sample_id = await uow.samples.add(new_sample(names[0]))
        old = {"sample_id": sample_id, "key_id": "old", "sealed": b"old bytes"}
        await uow.connection.execute(
            insert(crops).values(**old, alignment="arcface-112", created_at=func.now())
        )
        await uow.commit()
    await make_clear(db, names)

    calls = 0

    def dies(sample: str, alignment: str, key_id: str, sealed: bytes) -> bytes | None:
        nonlocal calls
        calls += 1
        assert (sample, alignment, key_id, sealed) == (sample_id, "arcface-112", "old", b"old bytes")
        if calls == 1:
            raise KeyboardInterrupt
        return b"png"

    with pytest.raises(KeyboardInterrupt):
        await seal_clear_rows(db, dies)
    assert await seal_clear_rows(db, dies) == len(names)
    assert await seal_clear_rows(db, no_old_crop) == 0
    async with db.read() as uow:
        snapshot = await uow.log.snapshot(SPACE)
        assert snapshot.ids.tolist() == ids
        assert np.array_equal(snapshot.vectors, np.stack([vector(i) for i in ids]))
        for name in names:
            record = await uow.subjects.get(name)
            assert record is not None
            assert (record.metadata, record.display_name) == ({"note": f"SECRET-{name}"}, f"SECRET-{name}")
            answer = await uow.idempotency.get("scope", name)
            assert answer is not None
            assert (answer.request_digest, answer.body) == ("0", {"note": f"SECRET-{name}"})
        crop = (await uow.crops.of_samples([sample_id], "arcface-112"))[sample_id]
        assert crop.png == b"png"
    if db.file is not None:
        for path in db.file.parent.iterdir():
            content = path.read_bytes()
            assert b"SECRET-" not in content, path.name
            assert b"old-" not in content, path.name
            assert not any(to_bytes(vector(i)) in content for i in ids), path.name


async def test_a_clear_row_that_appears_later_is_refused(db: Database) -> None:
    await seal_clear_rows(db, no_old_crop)
    (one,) = await enrolled(db, "anna", vector(1))
    async with db.write() as uow:
        change = update(templates).where(templates.c.template_id == one)
        await uow.connection.execute(change.values(vector=to_bytes(vector(9))))
        await uow.connection.execute(delete(subject_keys))
        await uow.commit()
    assert await seal_clear_rows(db, no_old_crop) == 0
    assert [entry.vector for entry in await whole_log(db)] == [None]
    assert f"template {one}" in db.refused


async def test_an_erasure_leaves_nothing_in_the_files_of_sqlite(tmp_path: Path) -> None:
    db = await Database.open(sqlite_url(tmp_path), KEYS)
    await db.migrate()
    async with db.write() as uow:
        await uow.spaces.register(SPACE, "bundle", 8, "active")
        await uow.commit()
    marks = [os.urandom(8).hex() for _ in range(8)]
    async with db.write() as uow:
        for i, mark in enumerate(marks):
            await enrol(uow, f"subject-{i}", vector(i))
            await uow.subjects.change(f"subject-{i}", metadata={"mark": mark})
        await uow.commit()
    sealed = await stored(db)
    for i in range(len(marks)):
        async with db.write(erasing=True) as uow:
            await uow.subjects.delete(f"subject-{i}")
            await uow.commit()
    found = everything(tmp_path)
    await db.close()
    assert not any(json.dumps({"mark": mark})[1:-1].encode() in found for mark in marks)
    assert not any(to_bytes(vector(i)) in found for i in range(len(marks)))
    # Not even what was sealed is left.
    assert not any(value in found for value in sealed.values())
