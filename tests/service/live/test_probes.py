"""Kept probes in the store: sealed one by one, erased with whom they name, and after their hours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select, update

from service.enrolment.enroller import erase_subject
from service.retention import expire_probes
from service.sealing.sources import KeyFile, MasterKeys
from service.settings import Settings
from service.store.clear_rows import seal_clear_rows
from service.store.database import Database
from service.store.probes import NewProbe, ProbeState
from service.store.rotation import rotate_master
from service.store.tables import kept_probes
from tests.service.store.support import SPACE, enrolled, vector

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=300)
PNG, FACTS = b"\x89PNG of a probe", b'{"of": "a probe"}'


def event(number: int) -> str:
    return f"{number:024x}"


def probe(
    number: int, *, subject_id: str | None = None, state: ProbeState = "unknown", at: datetime = NOW
) -> NewProbe:
    return NewProbe(
        event_id=event(number),
        at=at,
        space_id=SPACE,
        state="named" if subject_id is not None else state,
        subject_id=subject_id,
        png=PNG,
        facts=FACTS,
    )


async def keep(db: Database, *probes: NewProbe) -> list[bool]:
    async with db.write() as uow:
        kept = [await uow.probes.add(one) for one in probes]
        await uow.commit()
    return kept


async def held(db: Database) -> set[str]:
    async with db.read() as uow:
        return set((await uow.connection.execute(select(kept_probes.c.event_id))).scalars())


async def test_a_probe_is_kept_sealed_and_opens_again(db: Database) -> None:
    assert await keep(db, probe(1)) == [True]
    async with db.read() as uow:
        row = (await uow.connection.execute(select(kept_probes))).one()
        assert not any(
            secret in value for value in (row.crop, row.facts, row.wrapped) for secret in (PNG, FACTS)
        )
        assert await uow.probes.crop(event(1), LONG_AGO) == PNG
        kept = await uow.probes.get(event(1), LONG_AGO)
        assert kept is not None
        assert (kept.sealed, kept.state, kept.space_id) == (FACTS, "unknown", SPACE)
        assert await uow.probes.crop(event(2), LONG_AGO) is None
        # What is too old is not shown, erased already or not.
        assert await uow.probes.crop(event(1), NOW + timedelta(seconds=1)) is None
        assert await uow.probes.there([event(1), event(2)], LONG_AGO) == {event(1)}
        assert await uow.probes.there([event(1)], NOW + timedelta(seconds=1)) == set()


async def test_exchanged_crops_do_not_open(db: Database) -> None:
    await keep(db, probe(1), probe(2))
    async with db.write() as uow:
        sealed = dict(
            (await uow.connection.execute(select(kept_probes.c.event_id, kept_probes.c.crop))).all()
        )
        moved = update(kept_probes).where(kept_probes.c.event_id == event(1))
        await uow.connection.execute(moved.values(crop=sealed[event(2)]))
        await uow.commit()
    async with db.read() as uow:
        assert await uow.probes.crop(event(1), LONG_AGO) is None
        assert await uow.probes.crop(event(2), LONG_AGO) == PNG
    assert event(1) in str(db.refused)


async def test_an_erased_subject_takes_its_probes_along(db: Database) -> None:
    for name in ("anna", "bert", "cleo"):
        await enrolled(db, name, vector(1))
    named = [probe(n, subject_id=name) for n, name in enumerate(("anna", "anna", "bert", "cleo"), start=1)]
    assert await keep(db, *named, probe(9)) == [True] * 5
    await erase_subject(db, "anna", "test")
    assert await held(db) == {event(3), event(4), event(9)}
    # Whom a decision named, but who has gone since: nothing is kept.
    assert await keep(db, probe(5, subject_id="anna")) == [False]
    # A new id is the same person; a merge ends the key of the second.
    async with db.write() as uow:
        await uow.subjects.rename("bert", "dora")
        await uow.commit()
    async with db.write() as uow:
        await uow.subjects.lock(["dora", "cleo"])
        await uow.subjects.absorb("dora", "cleo")
        await uow.commit()
    assert await held(db) == {event(3), event(9)}
    async with db.write(erasing=True) as uow:
        await uow.subjects.begin_erasure(["dora"])
        await uow.subjects.end_erasure(["dora"])
        await uow.commit()
    assert await held(db) == {event(9)}


async def test_an_unknown_becomes_a_subject_and_then_goes_with_it(db: Database) -> None:
    await enrolled(db, "anna", vector(1))
    await keep(db, probe(1), probe(2))
    async with db.write() as uow:
        assert await uow.probes.set_state([event(1)], "named", subject_id="anna") == 1
        assert await uow.probes.replace_facts(event(1), b"other")
        assert not await uow.probes.replace_facts(event(7), b"other")
        await uow.commit()
    async with db.read() as uow:
        assert [one.event_id for one in await uow.probes.newest(SPACE, ("unknown",), LONG_AGO, 9)] == [
            event(2)
        ]
        kept = await uow.probes.get(event(1), LONG_AGO)
        assert kept is not None
        assert (kept.sealed, kept.state) == (b"other", "named")
    await erase_subject(db, "anna", "test")
    assert await held(db) == {event(2)}


async def test_the_newest_come_in_the_order_of_their_time(db: Database) -> None:
    await keep(db, *(probe(n) for n in range(1, 6)), probe(6, state="other"))
    async with db.read() as uow:
        newest = await uow.probes.newest(SPACE, ("unknown", "ignored"), LONG_AGO, 3)
    assert [one.event_id for one in newest] == [event(3), event(4), event(5)]


async def test_probes_go_after_their_hours_beyond_their_number_and_when_unwanted(db: Database) -> None:
    async def expired(**settings: float) -> set[str]:
        async with db.write() as uow:
            await expire_probes(uow, Settings(**settings))  # type: ignore[arg-type]
            await uow.commit()
        return await held(db)

    old, young = NOW - timedelta(hours=3), NOW - timedelta(hours=1)
    await keep(db, probe(1, at=old), probe(2, at=young), probe(3), probe(4))
    assert await expired(keep_probes_hours=2) == {event(2), event(3), event(4)}
    assert await expired(keep_probes_hours=2, keep_probes_max=2) == {event(3), event(4)}
    assert await expired(keep_probes_hours=2, keep_probes_max=2) == {event(3), event(4)}
    assert await expired() == set()
    async with db.read() as uow:
        entries = [one for one in await uow.audit.page(None, 100) if one.action == "probes.expire"]
    assert [one.detail["probes"] for one in entries] == [2, 1, 1]


async def test_a_rotation_of_the_master_key_takes_probes_along(database_url: str, tmp_path: Path) -> None:
    db = await Database.open(database_url, MasterKeys(KeyFile(tmp_path / "master.key")))
    await db.migrate()
    await seal_clear_rows(db, lambda *_: None)
    await keep(db, *(probe(n) for n in range(1, 6)))
    before = (tmp_path / "master.key").read_bytes()
    done = await rotate_master(db, at_once=2)
    assert done.probes == 5
    assert (tmp_path / "master.key").read_bytes() != before
    async with db.read() as uow:
        assert [await uow.probes.crop(event(n), LONG_AGO) for n in range(1, 6)] == [PNG] * 5
        masters = set((await uow.connection.execute(select(kept_probes.c.master_id))).scalars())
    assert masters == {done.master_id}
    await db.close()
