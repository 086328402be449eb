"""Terms of subjects in the store: who is on hold is not erased, and what people wrote lies sealed."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import select

from service.crops import encode_crops
from service.errors import OnHold
from service.store.database import Database
from service.store.tables import subject_terms
from service.store.term_records import Consent, Hold, SubjectTerms
from service.store.terms import EXPIRED, MATCH_STEP, UNMATCHED
from tests.service.store.support import enrolled, new_sample, vector
from tests.service.test_crops import crop

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WHOLE = SubjectTerms(
    hold=Hold(NOW, "0123456789ab", "case 4711/26"),
    consent=Consent(date(2026, 3, 1), "form 12"),
    expires_at=NOW + DAY,
    last_matched_at=NOW - DAY,
)


async def put(db: Database, subject_id: str, terms: SubjectTerms) -> None:
    async with db.write() as uow:
        await uow.subjects.lock([subject_id])
        await uow.terms.put(subject_id, terms)
        await uow.commit()


async def terms_of(db: Database, subject_id: str) -> SubjectTerms:
    async with db.read() as uow:
        return await uow.terms.get(subject_id)


async def hold(db: Database, subject_id: str) -> None:
    await put(db, subject_id, SubjectTerms(hold=Hold(NOW, "key", "why")))


async def test_terms_come_back_as_they_were_and_follow_a_rename(db: Database) -> None:
    await enrolled(db, "anna", vector(1))
    assert await terms_of(db, "anna") == SubjectTerms() == await terms_of(db, "nobody")
    await put(db, "anna", WHOLE)
    assert await terms_of(db, "anna") == WHOLE
    async with db.write() as uow:
        await uow.subjects.lock(["anna", "berta"])
        await uow.subjects.rename("anna", "berta")
        await uow.commit()
    assert await terms_of(db, "berta") == WHOLE
    assert await terms_of(db, "anna") == SubjectTerms()
    await put(db, "berta", SubjectTerms())
    # The last match is a fact, not an agreement: it stays.
    assert await terms_of(db, "berta") == SubjectTerms(last_matched_at=WHOLE.last_matched_at)


async def test_what_people_wrote_lies_sealed_and_goes_with_the_subject(db: Database) -> None:
    await enrolled(db, "anna", vector(1))
    await put(db, "anna", WHOLE)
    async with db.read() as uow:
        row = (await uow.connection.execute(select(subject_terms))).one()
    assert b"4711" not in row.sealed
    assert b"form 12" not in row.sealed
    await put(db, "anna", SubjectTerms())
    async with db.write() as uow:
        await uow.subjects.delete("anna")
        await uow.commit()
    async with db.read() as uow:
        assert (await uow.connection.execute(select(subject_terms))).first() is None


async def test_texts_that_do_not_open_are_refused_and_the_hold_stands(db: Database) -> None:
    await enrolled(db, "anna", vector(1))
    await put(db, "anna", WHOLE)
    async with db.write() as uow:
        await uow.connection.execute(subject_terms.update().values(sealed=b"x" * 60))
        await uow.commit()
    found = await terms_of(db, "anna")
    assert found.hold == Hold(NOW, "0123456789ab", None)
    assert found.consent == Consent(date(2026, 3, 1), None)
    assert len(db.refused) == 1
    async with db.write() as uow:
        with pytest.raises(OnHold):
            await uow.subjects.delete("anna")


async def test_nothing_of_a_subject_on_hold_is_erased(db: Database) -> None:
    async with db.write() as uow:
        for name in ("anna", "berta"):
            await uow.subjects.ensure(name, None)
            sample = await uow.samples.add(new_sample(name))
            await uow.crops.add(sample, encode_crops([crop()]))
        await uow.commit()
    async with db.read() as uow:
        (kept,) = await uow.samples.of_subject("anna")
    await hold(db, "anna")
    async with db.write() as uow:
        with pytest.raises(OnHold) as caught:
            await uow.subjects.delete("anna")
    assert caught.value.extra == {"held": [{"subject_id": "anna", "since": NOW.isoformat(), "by": "key"}]}
    assert "anna is on legal hold since 2026-11-01T12:00:00+00:00, placed by key key" in caught.value.detail
    async with db.write() as uow:
        with pytest.raises(OnHold):
            await uow.subjects.begin_erasure(["berta", "nobody", "anna"])
    async with db.write() as uow:
        with pytest.raises(OnHold):
            await uow.samples.delete("anna", kept.sample_id)
    async with db.write() as uow:
        await uow.subjects.lock(["anna", "berta"])
        with pytest.raises(OnHold):
            await uow.subjects.absorb("berta", "anna")
    async with db.write() as uow:
        assert await uow.crops.purge(None) == 1
        await uow.commit()
    async with db.read() as uow:
        assert set(await uow.crops.of_samples([kept.sample_id], crop().alignment_id)) == {kept.sample_id}
        assert await uow.terms.count_held() == 1
    # Another subject may still be merged into it, and once the hold is lifted it is as any other.
    async with db.write() as uow:
        await uow.subjects.lock(["anna", "berta"])
        await uow.subjects.absorb("anna", "berta")
        await uow.commit()
    await put(db, "anna", SubjectTerms())
    async with db.write() as uow:
        assert await uow.crops.purge(None) == 1
        assert await uow.subjects.delete("anna") is not None
        await uow.commit()


async def test_a_hold_and_an_erasure_at_once_never_both_succeed(db: Database) -> None:
    outcomes = set()
    for i in range(10):
        name = f"s{i}"
        await enrolled(db, name, vector(i))

        async def place(name: str) -> bool:
            async with db.write() as uow:
                await uow.subjects.lock([name])
                if await uow.subjects.get(name) is None:
                    return False
                await uow.terms.put(name, SubjectTerms(hold=Hold(NOW, "key", "why")))
                await uow.commit()
            return True

        async def erase(name: str) -> bool:
            async with db.write() as uow:
                try:
                    await uow.subjects.delete(name)
                except OnHold:
                    return False
                await uow.commit()
            return True

        pair = (place(name), erase(name)) if i % 2 else (erase(name), place(name))
        done = await asyncio.gather(*pair)
        assert sorted(done) == [False, True]
        async with db.read() as uow:
            held = await uow.subjects.get(name) is not None
        assert held is (done[0] if i % 2 else done[1])
        outcomes.add(held)
    assert outcomes


async def test_the_last_match_goes_forward_in_steps_and_forgets_who_is_gone(db: Database) -> None:
    for i, name in enumerate(("anna", "berta")):
        await enrolled(db, name, vector(i))

    async def note(**latest: datetime) -> None:
        async with db.write() as uow:
            await uow.terms.matched(latest)
            await uow.commit()

    await note(anna=NOW, nobody=NOW)
    assert (await terms_of(db, "anna")).last_matched_at == NOW
    assert await terms_of(db, "berta") == SubjectTerms()
    for too_soon in (NOW + MATCH_STEP / 2, NOW - DAY):
        await note(anna=too_soon)
        assert (await terms_of(db, "anna")).last_matched_at == NOW
    await note(anna=NOW + MATCH_STEP, berta=NOW)
    assert (await terms_of(db, "anna")).last_matched_at == NOW + MATCH_STEP
    assert (await terms_of(db, "berta")).last_matched_at == NOW
    # A match leaves what was agreed alone.
    await put(db, "anna", SubjectTerms(consent=WHOLE.consent, hold=WHOLE.hold))
    await note(anna=NOW + DAY)
    assert await terms_of(db, "anna") == SubjectTerms(
        consent=WHOLE.consent, hold=WHOLE.hold, last_matched_at=NOW + DAY
    )


async def test_matches_erasures_and_terms_at_once_do_not_wait_for_each_other(db: Database) -> None:
    names = [f"s{i}" for i in range(12)]
    for i, name in enumerate(names):
        await enrolled(db, name, vector(i))

    async def note(step: int) -> None:
        async with db.write() as uow:
            await uow.terms.matched(dict.fromkeys(names, NOW + step * DAY))
            await uow.audit.add("key", "read", None, {})
            await uow.commit()

    async def erase(chosen: list[str]) -> None:
        async with db.write() as uow:
            gone = await uow.subjects.begin_erasure(chosen)
            await uow.audit.add("key", "erase", None, {})
            await uow.subjects.end_erasure(list(gone))
            await uow.commit()

    async def agree(name: str) -> None:
        await put(db, name, SubjectTerms(expires_at=NOW))

    await asyncio.gather(
        *(note(step) for step in range(4)), erase(names[:5][::-1]), *(agree(name) for name in names[6:])
    )
    async with db.read() as uow:
        left = {one.subject_id for one in await uow.subjects.page(None, 100)}
    assert left == set(names[5:])
    for name in names[6:]:
        assert await terms_of(db, name) == SubjectTerms(expires_at=NOW, last_matched_at=NOW + 3 * DAY)


async def test_due_is_who_expires_or_was_neither_enrolled_nor_matched(db: Database) -> None:
    long_ago = NOW - 400 * DAY
    async with db.write() as uow:
        for name in ("ends", "held", "matched", "sampled", "stays", "unused"):
            await uow.subjects.ensure(name, None)
            made = NOW if name in ("ends", "stays") else long_ago
            await uow.subjects.set_times(name, created_at=made, updated_at=made)
        await uow.samples.add(new_sample("sampled"), created_at=NOW - 10 * DAY)
        await uow.samples.add(new_sample("unused"), created_at=long_ago)
        await uow.commit()
    await put(db, "ends", SubjectTerms(expires_at=NOW - HOUR))
    await put(db, "held", SubjectTerms(hold=Hold(NOW, "key", "why"), expires_at=NOW - HOUR))
    await put(db, "matched", SubjectTerms(last_matched_at=NOW - 10 * DAY))
    await put(db, "stays", SubjectTerms(expires_at=NOW + HOUR))
    async with db.read() as uow:
        names = await uow.subject_keys.ids.tokens(("ends", "held", "matched", "sampled", "stays", "unused"))

        async def due(unmatched_before: datetime | None, limit: int, *among: str) -> dict[str, str]:
            found = await uow.terms.due(NOW, unmatched_before, limit, among=among or None)
            return {names[token]: why for token, why in found.items()}

        both = {"ends": EXPIRED, "unused": UNMATCHED}
        assert await due(None, 10) == {"ends": EXPIRED}
        assert await due(NOW - 365 * DAY, 10) == both
        (one,) = (await due(NOW - 365 * DAY, 1)).items()
        assert one in both.items()
        assert await due(NOW - 365 * DAY, 10, "unused", "held") == {"unused": UNMATCHED}
        assert set(await due(NOW - 5 * DAY, 10)) == {"ends", "matched", "sampled", "unused"}
