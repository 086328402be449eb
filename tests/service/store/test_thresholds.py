"""Versions of thresholds are kept for a space, one of them in force, and go with their space."""

from __future__ import annotations

import pytest

from service.store.database import Database
from tests.service.store.support import SPACE, D

DOCUMENT = {"cameras": [{"camera": None}]}


async def install(db: Database, space_id: str, note: str) -> int:
    async with db.write() as uow:
        await uow.spaces.lock_exclusive()
        made = await uow.thresholds.add(space_id, DOCUMENT, default_fmr=1e-3, note=note, actor="admin-key")
        await uow.commit()
    return made.version


async def test_versions_count_on_and_one_is_in_force(db: Database) -> None:
    first, second = await install(db, SPACE, "first"), await install(db, SPACE, "second")
    assert (first, second) == (1, 2)
    async with db.write() as uow:
        await uow.thresholds.activate(SPACE, second)
        await uow.thresholds.activate(SPACE, first)
        await uow.commit()
    async with db.read() as uow:
        assert await uow.thresholds.active() == {SPACE: first}
        found = await uow.thresholds.all()
        assert [(one.version, one.note) for one in found] == [(2, "second"), (1, "first")]
        one = await uow.thresholds.get(first)
        assert one is not None
        assert (one.space_id, one.document, one.default_fmr, one.actor) == (
            SPACE,
            DOCUMENT,
            1e-3,
            "admin-key",
        )
        assert one.created_at.tzinfo is not None
        assert await uow.thresholds.get(99) is None
    async with db.write() as uow:
        await uow.thresholds.activate(SPACE, None)
        await uow.commit()
    async with db.read() as uow:
        assert await uow.thresholds.active() == {}
        assert len(await uow.thresholds.all()) == 2


async def test_a_version_that_is_not_there_cannot_be_in_force(db: Database) -> None:
    from service.store.errors import StoreError

    with pytest.raises(StoreError):
        async with db.write() as uow:
            await uow.thresholds.activate(SPACE, 12)
            await uow.commit()


async def test_thresholds_go_with_their_space(db: Database) -> None:
    async with db.write() as uow:
        await uow.spaces.register("sp-other", "bundle", D, "retired")
        await uow.commit()
    version = await install(db, "sp-other", "gone soon")
    kept = await install(db, SPACE, "stays")
    async with db.write() as uow:
        await uow.thresholds.activate("sp-other", version)
        await uow.spaces.delete("sp-other")
        await uow.commit()
    async with db.read() as uow:
        assert [one.version for one in await uow.thresholds.all()] == [kept]
        assert await uow.thresholds.active() == {}
