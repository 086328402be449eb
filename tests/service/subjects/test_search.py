"""Search over both databases: what fits is found once, page by page, while others come and go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from faces.types import Spectrum
from service.store.database import Database
from service.store.records import SubjectSelection
from service.subjects import search as searching
from service.subjects.search import SubjectQuery, search
from tests.service.store.support import new_sample


async def fill(db: Database, count: int) -> None:
    async with db.write() as uow:
        for i in range(count):
            await uow.subjects.ensure(f"s{i:03}", {"desk": i % 10, "hall": "Süd"}, f"Zoë Nr. {i % 7}")
        await uow.commit()


async def found(db: Database, query: SubjectQuery, limit: int = 7) -> list[str]:
    """Every subject that fits, over all pages, in order of the ids."""
    seen: list[str] = []
    after = None
    while True:
        page = await search(db, query, after, limit)
        assert len(page.subjects) <= limit
        seen += [one.subject_id for one in page.subjects]
        if (after := page.next_after) is None:
            assert len(seen) == len(set(seen))
            return sorted(seen)


async def test_every_filter_finds_what_fits_and_nothing_else(db: Database) -> None:
    await fill(db, 100)
    async with db.write() as uow:
        for subject_id, spectrum, masked in (
            ("s001", Spectrum.NIR, False),
            ("s002", Spectrum.VIS, True),
            ("s003", Spectrum.NIR, True),
        ):
            sample = new_sample(subject_id)
            values = {name: getattr(sample, name) for name in sample.__slots__}
            await uow.samples.add(type(sample)(**values | {"spectrum": spectrum, "masked": masked}))
        # Only one sample that is both counts.
        for spectrum, masked in ((Spectrum.NIR, False), (Spectrum.VIS, True)):
            await uow.samples.add(
                type(sample)(**values | {"subject_id": "s004", "spectrum": spectrum, "masked": masked})
            )
        await uow.commit()
    every = [f"s{i:03}" for i in range(100)]
    cases: list[tuple[SubjectQuery, list[str]]] = [
        (SubjectQuery(), every),
        (SubjectQuery(id_prefix="s09"), every[90:]),
        (SubjectQuery(id_prefix="t"), []),
        (SubjectQuery(selection=SubjectSelection(spectrum=Spectrum.NIR)), ["s001", "s003", "s004"]),
        (SubjectQuery(selection=SubjectSelection(masked=True)), ["s002", "s003", "s004"]),
        (SubjectQuery(selection=SubjectSelection(masked=True, spectrum=Spectrum.NIR)), ["s003"]),
        (SubjectQuery(name="zoe nr. 3"), every[3::7]),
        (SubjectQuery(metadata_key="desk", metadata_value="4"), every[4::10]),
        (SubjectQuery(metadata_key="hall", metadata_value="Süd", name="ZOE NR. 0"), every[::7]),
        (SubjectQuery(name="nobody"), []),
    ]
    for query, wanted in cases:
        assert await found(db, query) == wanted, query
    later = datetime.now(UTC) + timedelta(hours=1)
    assert await found(db, SubjectQuery(selection=SubjectSelection(enrolled_since=later))) == []
    earlier = later - timedelta(hours=2)
    assert await found(db, SubjectQuery(selection=SubjectSelection(enrolled_since=earlier))) == every


async def test_who_comes_and_goes_neither_shifts_nor_repeats_others(db: Database) -> None:
    await fill(db, 40)
    query = SubjectQuery(name="zoe")
    async with db.read() as uow:
        order = [one.subject_id for one in await uow.subjects.page(None, 100)]
        ids = uow.subject_keys.ids
        places = {f"late-{i:02}": await ids.token(f"late-{i:02}") for i in range(100)}
        border = await ids.token(order[9])
    first = await search(db, query, None, 10)
    # The pages follow the places; each is in order of its ids.
    assert [one.subject_id for one in first.subjects] == sorted(order[:10])
    # One of each page goes, and one comes to each.
    before = next(name for name, place in places.items() if place < border)
    after = next(name for name, place in places.items() if place > border)
    async with db.write() as uow:
        await uow.subjects.delete(order[3])
        await uow.subjects.delete(order[12])
        await uow.subjects.ensure(before, None, "Zoe")
        await uow.subjects.ensure(after, None, "Zoe")
        await uow.commit()
    seen, place = [one.subject_id for one in first.subjects], first.next_after
    while place is not None:
        page = await search(db, query, place, 10)
        seen, place = seen + [one.subject_id for one in page.subjects], page.next_after
    assert sorted(seen) == sorted({*order, after} - {order[12]})


async def test_one_request_opens_a_bounded_number_of_subjects(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "ROWS_AT_ONCE", 10)
    monkeypatch.setattr(searching, "MAX_OPENED", 30)
    await fill(db, 100)
    async with db.read() as uow:
        places = [one.place for one in await uow.subjects.page(None, 100)]
    for nobody in (SubjectQuery(name="nobody"), SubjectQuery(id_prefix="nobody")):
        page = await search(db, nobody, None, 7)
        assert (page.subjects, page.next_after) == ((), places[29])
    for wanted in (SubjectQuery(name="nr. 6"), SubjectQuery(id_prefix="s00")):
        monkeypatch.setattr(searching, "MAX_OPENED", 30)
        bounded = await found(db, wanted)
        monkeypatch.setattr(searching, "MAX_OPENED", 10_000)
        assert bounded == await found(db, wanted)
        assert len(bounded) >= 10
