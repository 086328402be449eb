from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import func, select

from faces.types import Condition, Spectrum
from service.store.columns import metadata
from service.store.database import Database
from service.store.errors import StoreError
from service.store.records import Erased, Owner, SubjectRecord
from service.store.tables import idempotency, samples, templates
from tests.service.store.support import OTHER, SPACE, D, enrol, enrolled, new_sample, vector


async def rows(db: Database, table: str) -> int:
    async with db.read() as uow:
        count = select(func.count()).select_from(metadata.tables[table])
        return int((await uow.connection.execute(count)).scalar_one())


async def test_a_subject_is_created_changed_and_counted(db: Database) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    async with db.write() as uow:
        assert await uow.subjects.get("anna") is None
        await uow.subjects.ensure("anna", {"name": "Ä", "n": [1, None, 2.5]})
        await uow.subjects.ensure("anna", None)
        await uow.commit()
    async with db.read() as uow:
        anna = await uow.subjects.get("anna")
        assert anna is not None
        assert anna.metadata == {"name": "Ä", "n": [1, None, 2.5]}
        assert anna.sample_count == 0
        assert before <= anna.created_at <= anna.updated_at <= datetime.now(UTC)
        assert anna.created_at.utcoffset() == timedelta(0)
        assert await uow.subjects.count() == 1
    async with db.write() as uow:
        await uow.subjects.ensure("anna", {})
        assert not await uow.subjects.change("nobody", metadata={"a": 1})
        await uow.commit()
    async with db.read() as uow:
        replaced = await uow.subjects.get("anna")
        assert replaced is not None
        assert (replaced.metadata, replaced.created_at) == ({}, anna.created_at)
        assert replaced.updated_at > anna.updated_at


async def test_pages_of_subjects_are_complete_and_in_one_order_that_says_nothing(db: Database) -> None:
    ids = ["b", "B", "a-1", "a1", "a.1", "_", "Z9", "z", "10", "9", "a@b", "a:b"]
    async with db.write() as uow:
        for subject_id in ids:
            await uow.subjects.ensure(subject_id, None)
        await uow.commit()
    seen: list[SubjectRecord] = []
    async with db.read() as uow:
        # A page goes on after an id or after a place.
        for after in ("subject_id", "place"):
            seen = []
            while page := await uow.subjects.page(getattr(seen[-1], after) if seen else None, 5):
                assert len(page) <= 5
                seen += page
            assert sorted(subject.subject_id for subject in seen) == sorted(ids)
            assert [subject.place for subject in seen] == sorted(subject.place for subject in seen)
        assert await uow.subjects.page(None, 100) == seen
        for subject in seen:
            assert re.fullmatch("~[0-9a-f]{32}", subject.place)
            assert subject.place == await uow.subject_keys.ids.token(subject.subject_id)


async def test_a_stored_sample_is_read_unchanged(db: Database) -> None:
    async with db.write() as uow:
        await uow.subjects.ensure("anna", None)
        first = await uow.samples.add(new_sample("anna", "1" * 64))
        second = await uow.samples.add(new_sample("anna", "2" * 64))
        await uow.commit()
    async with db.read() as uow:
        found = await uow.samples.of_subject("anna")
        assert {sample.sample_id for sample in found} == {first, second}
        assert found[0].created_at <= found[1].created_at
        assert found[0].spectrum is Spectrum.VIS
        assert (found[0].inter_eye_px, found[0].source_width, found[0].masked) == (61.5, 640, False)
        assert await uow.samples.of_subject("nobody") == []
        subject = await uow.subjects.get("anna")
        assert subject is not None
        assert subject.sample_count == 2


async def test_a_sample_needs_its_subject(db: Database) -> None:
    with pytest.raises(StoreError):
        async with db.write() as uow:
            await uow.samples.add(new_sample("nobody"))
            await uow.commit()
    assert await rows(db, "samples") == 0


async def test_erasing_a_subject_leaves_only_its_log(db: Database) -> None:
    gone = await enrolled(db, "anna", vector(1), vector(2))
    (kept,) = await enrolled(db, "bert", vector(3))
    async with db.write() as uow:
        answer = {"request_digest": "0", "status": 201, "body": {"who": "?"}}
        await uow.idempotency.put("key", "1", subject_id="anna", **answer)  # type: ignore[arg-type]
        await uow.idempotency.put("key", "2", subject_id="bert", **answer)  # type: ignore[arg-type]
        await uow.commit()
    async with db.write() as uow:
        assert await uow.subjects.delete("anna") == Erased(samples=2, templates=2, crops=0)
        assert await uow.subjects.delete("nobody") is None
        await uow.commit()
    async with db.read() as uow:
        assert await uow.subjects.get("anna") is None
        assert await uow.idempotency.get("key", "1") is None
        assert await uow.idempotency.get("key", "2") is not None
        assert set(await uow.templates.owners([*gone, kept])) == {kept}
        entries = await uow.log.tail(SPACE, 0, 100)
    assert [(e.op, e.template_id) for e in entries if e.template_id in gone] == [
        ("add", gone[0]),
        ("add", gone[1]),
        ("remove", gone[0]),
        ("remove", gone[1]),
    ]
    assert all(entry.vector is None for entry in entries if entry.template_id in gone)
    left = {"samples": samples.c.subject_id, "idempotency": idempotency.c.subject_id}
    async with db.read() as uow:
        for column in left.values():
            found = {row[0] for row in await uow.connection.execute(select(column))}
            assert found == {await uow.subject_keys.ids.token("bert")}
    assert await rows(db, "templates") == 1


async def test_erasing_one_sample_keeps_the_others(db: Database) -> None:
    one, two = await enrolled(db, "anna", vector(1), vector(2))
    await enrolled(db, "bert", vector(3))
    async with db.write() as uow:
        owners = await uow.templates.owners([one, two])
        assert await uow.samples.delete("bert", owners[one].sample_id) is None
        assert await uow.samples.delete("anna", "nothing") is None
        assert await uow.samples.delete("anna", owners[one].sample_id) == Erased(1, 1, 0)
        await uow.commit()
    async with db.read() as uow:
        clear = Condition(Spectrum.VIS, masked=False)
        left = Owner("anna", owners[two].sample_id, {}, None, clear)
        assert await uow.templates.owners([one, two]) == {two: left}
        assert (await uow.log.tail(SPACE, 0, 100))[-1].template_id == one
        assert await uow.log.head(SPACE) == 4


async def test_a_template_id_is_never_reused(db: Database) -> None:
    first, last = await enrolled(db, "anna", vector(1), vector(2))
    async with db.write() as uow:
        await uow.subjects.delete("anna")
        await uow.commit()
    (again,) = await enrolled(db, "anna", vector(1))
    assert again > last > first


async def test_vectors_are_stored_bit_for_bit(db: Database) -> None:
    odd = np.array([1e-45, -0.0, 1.0, -1e-7, 0.1, 3e38, 2.0**-126, -1.0], np.float32)
    await enrolled(db, "anna", odd, vector(1))
    await enrolled(db, "bert", vector(2))
    async with db.read() as uow:
        found = await uow.templates.vectors_of(SPACE, "anna")
        assert found.dtype == np.float32
        assert found.tobytes() == np.stack([odd, vector(1)]).tobytes()
        assert (await uow.templates.vectors_of(SPACE, "nobody")).shape == (0, 0)
        stored = (await uow.connection.execute(select(templates.c.vector))).scalars().all()
        # Sealed: nonce, the same number of bytes, tag.
        assert len(stored[0]) == 12 + odd.nbytes + 16
        assert not any(odd[i : i + 2].tobytes() in stored[0] for i in range(7))


async def test_a_vector_of_another_dimension_is_refused_on_write_and_on_read(db: Database) -> None:
    for space_id, dimension in ((SPACE, D - 1), ("sp-none", D)):
        with pytest.raises(StoreError):
            async with db.write() as uow:
                await uow.subjects.ensure("anna", None)
                await uow.templates.add(
                    space_id, await uow.samples.add(new_sample("anna")), vector(1, dimension)
                )
                await uow.commit()
    (template_id,) = await enrolled(db, "anna", vector(1))
    async with db.write() as uow:
        key, (sample,) = await uow.subject_keys.of_subject("anna"), await uow.samples.of_subject("anna")
        place = ("template", sample.sample_id, SPACE, str(template_id))
        sealed = key.seal(b"\0" * 4 * (D - 1), *place)
        await uow.connection.execute(templates.update().values(vector=sealed))
        await uow.commit()
    async with db.read() as uow:
        with pytest.raises(StoreError, match="dimension"):
            await uow.log.snapshot(SPACE)
        with pytest.raises(StoreError, match="dimension"):
            await uow.log.tail(SPACE, 0, 10)
        with pytest.raises(StoreError, match="dimension"):
            await uow.templates.vectors_of(SPACE, "anna")


async def test_owners_of_more_ids_than_one_statement_takes(db: Database) -> None:
    made = await enrolled(db, "anna", *(vector(i) for i in range(3)))
    async with db.read() as uow:
        assert set(await uow.templates.owners([*range(10_000, 50_000), *made])) == set(made)
        assert await uow.templates.owners([]) == {}


async def test_spaces_count_their_missing_templates(db: Database) -> None:
    async with db.write() as uow:
        await enrol(uow, "anna", vector(1), vector(2))
        await uow.spaces.register(OTHER, "newer", D, "backfilling")
        await uow.commit()
    async with db.write() as uow:
        assert (await uow.templates.count(SPACE), await uow.templates.count_missing(SPACE)) == (2, 0)
        assert (await uow.templates.count(OTHER), await uow.templates.count_missing(OTHER)) == (0, 2)
        sample = (await uow.samples.of_subject("anna"))[0]
        await uow.templates.add(OTHER, sample.sample_id, vector(9))
        assert (await uow.templates.count(OTHER), await uow.templates.count_missing(OTHER)) == (1, 1)
        assert await uow.log.head(OTHER) == 1
        await uow.commit()
    with pytest.raises(StoreError):
        async with db.write() as uow:
            await uow.templates.add(OTHER, sample.sample_id, vector(9))
            await uow.commit()


async def test_at_most_one_space_is_active(db: Database) -> None:
    async with db.write() as uow:
        await uow.spaces.register(OTHER, "newer", D, "ready")
        await uow.spaces.register(OTHER, "newer", D, "registered")
        await uow.spaces.register("sp-old", "older", D, "retired")
        await uow.commit()
    async with db.read() as uow:
        assert [space.space_id for space in await uow.spaces.writable()] == [SPACE, OTHER]
        assert {space.state for space in await uow.spaces.all()} == {"active", "ready", "retired"}
    for refused in ("set_state", "dimension"):
        with pytest.raises(StoreError):
            async with db.write() as uow:
                if refused == "set_state":
                    await uow.spaces.set_state(OTHER, "active")
                else:
                    await uow.spaces.register(OTHER, "newer", D + 1, "ready")
                await uow.commit()
    async with db.write() as uow:
        await uow.spaces.set_state(SPACE, "ready")
        await uow.spaces.set_state(OTHER, "active")
        with pytest.raises(StoreError, match="no such"):
            await uow.spaces.set_state("sp-none", "active")
        await uow.commit()
    async with db.read() as uow:
        active = await uow.spaces.active()
        assert active is not None
        assert active.space_id == OTHER
