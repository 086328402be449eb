"""The filler goes on when its networks are taken away: a newer bundle of the same space was registered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from faces.bundle import read
from faces.types import AlignedCrop
from service.bundles.registry import BundleStore
from service.crops import align_all
from service.inference.engine import Engine
from service.spaces import registry as spaces
from service.spaces.admin import SpaceAdmin
from service.spaces.backfill_worker import SpaceFiller
from service.spaces.registry import SpaceRegistry
from service.store.database import Database
from tests.service.inference.faces import OPTIONS, samples
from tests.service.spaces.support import SHIFT, variant
from tests.service.spaces.test_backfill import VAULT, enrolled

WAIT_S = 300.0


@pytest.fixture
def kept(bundle_dir: Path) -> list[tuple[AlignedCrop, ...]]:
    engine = Engine.load(read(bundle_dir), OPTIONS)
    return [align_all(seen.image, seen.face) for seen in samples(engine)]


@pytest.fixture
async def registry(db: Database, tmp_path: Path, bundle_dir: Path) -> AsyncIterator[SpaceRegistry]:
    opened = SpaceRegistry(db, BundleStore(tmp_path / "bundles"))
    await opened.open(read(bundle_dir), OPTIONS)
    yield opened
    await opened.close()


@pytest.mark.slow
async def test_a_newer_bundle_of_the_space_does_not_end_its_filling(
    db: Database,
    registry: SpaceRegistry,
    kept: list[tuple[AlignedCrop, ...]],
    tmp_path: Path,
    bundle_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As if the filling took longer than the minute that replaced networks stay open.
    monkeypatch.setattr(spaces, "CLOSE_AFTER_S", 0.0)
    variant(bundle_dir, tmp_path / "bundles" / "wide")
    variant(bundle_dir, tmp_path / "bundles" / "wider", shift=2 * SHIFT, name="wider")
    filler = SpaceFiller(db, registry, VAULT, busy=lambda: True, poll_s=0.05)
    admin = SpaceAdmin(db, registry, filler, settle_s=0.1, bundle_key=None)
    await enrolled(db, kept)
    space_id = (await admin.register("wide", "test")).record.space_id
    serving = asyncio.create_task(filler.serve())
    try:
        view = await admin.backfill(space_id, "test")
        async with asyncio.timeout(WAIT_S):
            while not view.templates:
                await asyncio.sleep(0.01)
                view = await admin.one(space_id)
            assert view.missing
            assert (await admin.register("wider", "test")).record.space_id == space_id
            while view.record.state != "ready":
                assert not view.message, view.message
                await asyncio.sleep(0.05)
                view = await admin.one(space_id)
        assert view.missing == 0
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
