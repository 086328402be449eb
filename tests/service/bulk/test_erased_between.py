"""Whoever is erased at any moment of a bulk enrolment is not enrolled again by a later photo of the job."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bulk import ASKED
from faces import bundle
from service.api.schemas.event_bodies import event_body
from service.api.schemas.subjects import enrol_answer
from service.bulk.erasure import forget_gone, forget_keys
from service.bulk.job import PhotoEnroller
from service.bulk.journal import Journal
from service.bulk.journal_people import Promise
from service.bulk.request import BULK
from service.bulk.types import BulkPhoto, Outcome
from service.enrolment.enroller import Enroller, erase_subject
from service.errors import LowQuality, NotSearchableYet
from service.inference.engine import EngineOptions
from service.jobs.child import job_directory
from service.settings import Settings, builtin_bundle
from service.state import State, open_state
from service.store.unit import UnitOfWork
from service.telemetry import Metrics
from tests.conftest import sample_bytes
from tests.service.bulk.test_bulk_job import WAIT_S, packed

ADA = "ada"


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    settings = Settings(data_dir=tmp_path / "data", bundle_dir=builtin_bundle())
    made = await open_state(settings, Metrics(), enrol_answer, event_body)
    await made.registry.open(bundle.read(settings.bundle_dir), EngineOptions.of(settings))
    yield made
    await made.registry.close()
    await made.pipeline.close()
    await made.db.close()


@pytest.fixture
def journal(state: State, tmp_path: Path) -> Journal:
    """Where an erasure looks for journals of jobs."""
    return Journal(job_directory(tmp_path / "data") / "j" / "bulk", {"upload": "x"}, commit_every=1)


class ErasesAfterwards:
    """An enroller whose subject somebody erases as soon as its first photo is committed. `late`: the gallery
    has not caught up with that commit."""

    def __init__(self, state: State, *, late: bool = False) -> None:
        self._state, self._late, self.calls = state, late, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state.enroller, name)

    async def enrol_described(self, *asked: Any) -> dict[str, Any]:
        self.calls += 1
        answer = await self._state.enroller.enrol_described(*asked)
        if self.calls == 1:
            await erase_subject(self._state.db, ADA, "test")
            if self._late:
                raise NotSearchableYet("stored, but the gallery has not caught up yet")
        return answer


async def enrolled(one: PhotoEnroller, number: int) -> Outcome:
    data = sample_bytes("s01", f"vis_{number}.jpg")
    photo = BulkPhoto(name=f"{ADA}/{number}.jpg", subject_id=ADA, read=lambda: data)
    return await one.enrol(photo, data, hashlib.sha256(data).hexdigest(), None)


async def there(state: State) -> bool:
    async with state.db.read() as uow:
        return await uow.subjects.get(ADA) is not None


def photos(state: State, journal: Journal, enroller: Enroller | ErasesAfterwards) -> PhotoEnroller:
    return PhotoEnroller(state.db, state.registry, enroller, ASKED, lambda: False, journal)  # type: ignore[arg-type]


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told yet"])
async def test_an_erasure_right_after_the_commit_lasts(state: State, journal: Journal, *, told: bool) -> None:
    if not told:
        state.db.on_shredded = None
    one = photos(state, journal, ErasesAfterwards(state))
    assert (await enrolled(one, 1)).code is None
    assert (await enrolled(one, 2)).code == "erased"
    assert not await there(state)
    assert journal.is_gone(ADA)


async def test_what_was_erased_before_the_gallery_followed_is_not_tried_again(
    state: State, journal: Journal
) -> None:
    state.db.on_shredded = None
    enroller = ErasesAfterwards(state, late=True)
    one = photos(state, journal, enroller)
    assert (await enrolled(one, 1)).code == "erased"
    assert (await enrolled(one, 2)).code == "erased"
    assert enroller.calls == 1
    assert not await there(state)


async def test_a_photo_that_was_refused_leaves_no_name(state: State, journal: Journal) -> None:
    class Refuses(ErasesAfterwards):
        async def enrol_described(self, *_asked: Any) -> dict[str, Any]:
            raise LowQuality("too small")

    assert (await enrolled(photos(state, journal, Refuses(state)), 1)).code == "low_quality"
    journal.close()
    for path in job_directory(state.settings.data_dir).rglob("*.sqlite*"):
        assert ADA.encode() not in path.read_bytes()


async def test_an_erasure_by_another_replica_lasts(state: State, journal: Journal) -> None:
    state.db.on_shredded = None
    one = photos(state, journal, state.enroller)
    assert (await enrolled(one, 1)).code is None
    await erase_subject(state.db, ADA, "test")
    assert (await enrolled(one, 2)).code == "erased"
    assert not await there(state)


async def test_an_erasure_finds_a_subject_whose_outcome_a_kill_took(state: State, journal: Journal) -> None:
    shredded = list[str]()

    def keep(key_ids: Sequence[str]) -> None:
        shredded.extend(key_ids)

    state.db.on_shredded = keep
    await enrolled(photos(state, journal, ErasesAfterwards(state)), 1)
    # As a kill right after the commit leaves it.
    (directory,) = job_directory(state.settings.data_dir).glob("*/bulk")
    journal.close()
    killed = directory.parent.parent / "k" / "bulk"
    with Journal(killed, {"upload": "x"}, commit_every=1) as left:
        left.promise(ADA, Promise(shredded[0], "never written"))
    forget_keys(state.settings.data_dir, shredded)
    with Journal(killed, {"upload": "x"}, commit_every=1) as again:
        assert (await enrolled(photos(state, again, state.enroller), 1)).code == "erased"
    assert not await there(state)


async def test_who_is_enrolled_while_a_round_looks_is_not_taken_for_erased(
    state: State, journal: Journal
) -> None:
    class Slow:
        """A database after whose answer the job that goes on enrols somebody."""

        @asynccontextmanager
        async def read(self) -> AsyncIterator[UnitOfWork]:
            async with state.db.read() as uow:
                yield uow
            await enrolled(photos(state, journal, state.enroller), 1)

    assert await forget_gone(Slow(), journal) == []  # type: ignore[arg-type]
    assert journal.key_id_of(ADA) is not None
    assert (await enrolled(photos(state, journal, state.enroller), 2)).code is None


class Killed(BaseException):
    """Takes a job away as a kill does: nothing that it would do afterwards is done."""


class Dies(ErasesAfterwards):
    """Dies with its first photo, as it is to be committed or right after, when another replica erases."""

    def __init__(self, state: State, *, committed: bool) -> None:
        super().__init__(state)
        self._committed = committed

    async def enrol_described(self, *asked: Any) -> dict[str, Any]:
        if self._committed:
            await super().enrol_described(*asked)
        raise Killed


@pytest.mark.parametrize("committed", [True, False], ids=["committed, then erased", "not committed"])
async def test_who_was_erased_by_another_replica_after_a_kill_stays_erased(
    state: State, *, committed: bool
) -> None:
    state.db.on_shredded = None
    archive = packed(
        {f"set/{ADA}/{number}.jpg": sample_bytes("s01", f"vis_{number}.jpg") for number in (1, 2)}
    )

    async def chunks() -> AsyncIterator[bytes]:
        yield archive

    asked = replace(ASKED, upload=await state.bulk_uploads.add(chunks(), len(archive)))
    job_id = await state.jobs.submit(BULK, asked.params(), actor="test")
    directory = job_directory(state.settings.data_dir) / job_id / "bulk"
    with Journal(directory, {"upload": asked.upload}, commit_every=1) as left, pytest.raises(Killed):
        await enrolled(photos(state, left, Dies(state, committed=committed)), 1)
    with Journal(directory, None) as left:
        assert list(left.promised()) == [ADA]
        assert not left.is_gone(ADA)
    assert not await there(state)
    runner = asyncio.create_task(state.runner.serve())
    async with asyncio.timeout(WAIT_S):
        while (job := await state.jobs.get(job_id)).ended_at is None:  # noqa: ASYNC110 - a row of a table
            await asyncio.sleep(0.05)
    runner.cancel()
    assert job.state == "succeeded"
    assert job.metrics["enrolled"] == (0 if committed else 2)
    assert await there(state) is not committed


async def test_a_renamed_subject_keeps_its_photos_and_a_later_one_makes_another(
    state: State, journal: Journal
) -> None:
    one = photos(state, journal, state.enroller)
    await enrolled(one, 1)
    async with state.db.write() as uow:
        await uow.subjects.rename(ADA, "ada-lovelace")
        await uow.commit()
    assert (await enrolled(one, 2)).code is None
    assert await there(state)
