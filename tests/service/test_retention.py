"""A clock that is wrong erases nothing."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from service.audit.signing import AuditSigner
from service.crops import encode_crops
from service.retention import DOUBT_LASTS, EVEN_STEP, LARGEST_STEP, erase_expired, next_mark
from service.settings import Settings
from service.store.database import Database
from service.store.records import AuditEvent
from service.store.retention import ClockMark
from service.store.tables import crops as table
from tests.service.store.support import new_sample
from tests.service.test_crops import crop

NOW = datetime(2026, 11, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("last", "step", "believed"),
    [
        (None, 0 * HOUR, True),
        (ClockMark(NOW), HOUR, True),
        (ClockMark(NOW), LARGEST_STEP, True),
        (ClockMark(NOW), LARGEST_STEP + HOUR, False),
        (ClockMark(NOW), 30 * DAY, False),
        (ClockMark(NOW), -30 * DAY, True),
        (ClockMark(NOW, NOW - DOUBT_LASTS), HOUR, True),
        (ClockMark(NOW, NOW - DOUBT_LASTS + 2 * HOUR), HOUR, False),
        (ClockMark(NOW, NOW - DOUBT_LASTS), EVEN_STEP + HOUR, False),
    ],
)
def test_a_step_of_the_clock_is_believed_if_it_is_even(
    last: ClockMark | None, step: timedelta, believed: bool
) -> None:
    mark, found = next_mark(last, NOW + step)
    assert found is believed
    assert mark.seen_at == NOW + step


def test_a_jump_is_believed_after_a_day_that_passed_hour_by_hour() -> None:
    mark, now, waited = ClockMark(NOW), NOW + 30 * DAY, 0
    while True:
        mark, believed = next_mark(mark, now)
        if believed:
            break
        waited, now = waited + 1, now + HOUR
    assert waited == DOUBT_LASTS / HOUR
    assert mark == ClockMark(now)


async def keep_crops(db: Database) -> None:
    async with db.write() as uow:
        await uow.subjects.ensure("anna", None)
        sample_id = await uow.samples.add(new_sample("anna"))
        await uow.crops.add(sample_id, encode_crops([crop()]))
        await uow.commit()


async def crops(db: Database) -> int:
    async with db.read() as uow:
        return int((await uow.connection.execute(select(func.count()).select_from(table))).scalar_one())


async def run(db: Database, settings: Settings) -> list[str]:
    async with db.write() as uow:
        await erase_expired(uow, settings, AuditSigner(os.urandom(32)))
        await uow.commit()
    async with db.read() as uow:
        return [entry.action for entry in await uow.audit.after(0, 100)]


async def set_mark(db: Database, mark: ClockMark) -> None:
    async with db.write() as uow:
        await uow.clock.set_mark(mark)
        await uow.commit()


async def test_crops_expire_by_the_databases_clock_and_it_is_audited(db: Database) -> None:
    await keep_crops(db)
    async with db.read() as uow:
        assert abs(await uow.clock.now() - datetime.now(UTC)) < timedelta(minutes=1)
    assert await run(db, Settings(crop_days=1)) == []
    assert await run(db, Settings(crop_days=1e-9)) == ["crops.expire"]
    assert await crops(db) == 0


async def test_a_clock_30_days_ahead_erases_nothing_and_says_so_once(db: Database) -> None:
    """To the service it is the same whether the clock is ahead or the last run long ago."""
    await keep_crops(db)
    await set_mark(db, ClockMark(datetime.now(UTC) - 30 * DAY))
    for _ in range(3):
        assert await run(db, Settings(crop_days=1e-9)) == ["retention.wait"]
    assert await crops(db) == 1
    await set_mark(db, ClockMark(datetime.now(UTC) - HOUR, datetime.now(UTC) - DOUBT_LASTS - HOUR))
    assert await run(db, Settings(crop_days=1e-9)) == ["retention.wait", "crops.expire"]
    assert await crops(db) == 0


async def test_the_first_run_after_an_upgrade_knows_the_time_of_the_last_entry(db: Database) -> None:
    await keep_crops(db)
    async with db.write() as uow:
        long_ago = datetime.now(UTC) - 30 * DAY
        await uow.audit.extend([AuditEvent(at=long_ago, actor="a", action="b")])
        await uow.commit()
    assert await run(db, Settings(crop_days=1e-9)) == ["b", "retention.wait"]
    assert await crops(db) == 1


async def test_crops_that_nobody_wants_go_whatever_the_clock_says(db: Database) -> None:
    await keep_crops(db)
    await set_mark(db, ClockMark(datetime.now(UTC) - 30 * DAY))
    assert await run(db, Settings(keep_crops=False)) == ["retention.wait", "crops.expire"]
    assert await crops(db) == 0
