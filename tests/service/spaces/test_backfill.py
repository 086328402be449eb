"""Filling a space: real networks, real databases; writers, erasures and stops in between."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update

from faces.align import ALIGNMENTS
from faces.bundle import read
from faces.types import AlignedCrop, Box, Face, Image, Spectrum
from service.crops import align_all, decode_crop, encode_crops
from service.gallery.exact import ExactGallery
from service.inference.engine import Engine
from service.spaces.backfill import BackfillReport, backfill, embed
from service.spaces.readiness import SpaceNotFit, check_readiness
from service.spaces.space import EmbeddingSpace
from service.spaces.throttle import Throttle
from service.store.database import Database
from service.store.tables import crops
from tests.service.inference.faces import OPTIONS, pixels, samples
from tests.service.spaces.support import variant
from tests.service.store.support import new_sample

COUNT = 24


@pytest.fixture(scope="module")
def kept(bundle_dir: Path) -> list[tuple[AlignedCrop, ...]]:
    """The crops of the committed samples' faces, on every template."""
    engine = Engine.load(read(bundle_dir), OPTIONS)
    return [align_all(seen.image, seen.face) for seen in samples(engine)]


@pytest.fixture
async def space(db: Database, bundle_dir: Path, tmp_path: Path) -> AsyncIterator[EmbeddingSpace]:
    manifest = variant(bundle_dir, tmp_path / "wide")
    async with db.write() as uow:
        await uow.spaces.register(manifest.space_id, "wide", manifest.encoder.dimension, "backfilling")
        await uow.commit()
    engine = await asyncio.to_thread(Engine.load, read(tmp_path / "wide"), OPTIONS)
    engine.start()
    yield EmbeddingSpace(manifest, engine, ExactGallery(manifest.encoder.dimension))
    await engine.close()


async def enrolled(db: Database, kept: list[tuple[AlignedCrop, ...]], count: int = COUNT) -> list[str]:
    """One sample for each subject, with its crops and without a template in any space."""
    made = []
    async with db.write() as uow:
        for i in range(count):
            await uow.subjects.ensure(f"s{i}", None)
            sample_id = await uow.samples.add(new_sample(f"s{i}"))
            await uow.crops.add(sample_id, encode_crops(kept[i % len(kept)]))
            made.append(sample_id)
        await uow.commit()
    return made


def eager(batch: int = 4) -> Throttle:
    return Throttle(busy=lambda: False, rest=0, batch=batch)


async def nothing(_report: BackfillReport) -> None:
    return


async def run(db: Database, space: EmbeddingSpace, **given: object) -> BackfillReport:
    options = {"throttle": eager(), "on_progress": nothing, "stop": lambda: False} | given
    return await backfill(db, space, **options)  # type: ignore[arg-type]


async def test_a_resumed_backfill_gives_every_sample_one_template(
    db: Database, space: EmbeddingSpace, kept: list[tuple[AlignedCrop, ...]]
) -> None:
    ids = await enrolled(db, kept)
    turns = iter(range(100))
    first = await run(db, space, stop=lambda: next(turns) == 2)
    assert first.stopped
    assert (first.total, first.added) == (COUNT, 8)
    with pytest.raises(SpaceNotFit, match="16 samples"):
        await check_readiness(db, space)
    # Two at once, as two replicas would: each sample is filled by one of them.
    both = await asyncio.gather(run(db, space), run(db, space, throttle=eager(3)))
    assert sum(report.added for report in both) == COUNT - 8
    async with db.read() as uow:
        assert await uow.templates.count_missing(space.space_id) == 0
        drawn = await uow.templates.pick_random(space.space_id, 100)
        stored = await uow.crops.of_samples(ids, "arcface-112")
    assert sorted(one.sample_id for one in drawn) == sorted(ids)
    for one in drawn[:4]:
        again = await embed(space, decode_crop(stored[one.sample_id]))
        assert float(again @ one.vector) > 0.99999
    assert await check_readiness(db, space) == COUNT
    assert (await run(db, space)).total == 0


async def test_a_backfill_neither_undoes_erasures_nor_loses_enrolments(
    db: Database, space: EmbeddingSpace, kept: list[tuple[AlignedCrop, ...]]
) -> None:
    await enrolled(db, kept)
    work = asyncio.create_task(run(db, space, throttle=eager(1)))
    late = np.full(space.manifest.encoder.dimension, 1 / 16, np.float32)
    for i in range(0, COUNT, 3):
        async with db.write() as uow:
            assert await uow.subjects.delete(f"s{i}")
            await uow.commit()
        async with db.write() as uow:
            await uow.subjects.ensure(f"late{i}", None)
            await uow.spaces.lock_shared()
            sample_id = await uow.samples.add(new_sample(f"late{i}"))
            await uow.templates.add(space.space_id, sample_id, late)
            await uow.commit()
        await asyncio.sleep(0.01)
    report = await work
    assert report.added + report.skipped >= COUNT - COUNT // 3
    async with db.read() as uow:
        assert await uow.templates.count_missing(space.space_id) == 0
        assert await uow.templates.count(space.space_id) == COUNT
    # What the log says is what is there: no erased template is in the gallery.
    await space.load_gallery(db)
    rebuilt = ExactGallery(space.manifest.encoder.dimension)
    followed = EmbeddingSpace(space.manifest, space.engine, rebuilt, filled=True)
    await followed.follow(db)
    assert rebuilt.size == space.gallery.size == COUNT


async def test_the_report_counts_samples_that_cannot_be_filled(
    db: Database, space: EmbeddingSpace, kept: list[tuple[AlignedCrop, ...]]
) -> None:
    await enrolled(db, kept, 3)
    async with db.write() as uow:
        await uow.subjects.ensure("bare", None)
        await uow.samples.add(new_sample("bare"))
        sample_id = await uow.samples.add(new_sample("bare"))
        await uow.crops.add(sample_id, encode_crops(kept[0]))
        await uow.connection.execute(
            update(crops).where(crops.c.sample_id == sample_id).values(sealed=os.urandom(999))
        )
        await uow.commit()
        assert await uow.crops.count_unembeddable(space.space_id, "arcface-112") == 1
    report = await run(db, space)
    assert (report.added, report.without_crop, report.unreadable) == (3, 1, 1)
    with pytest.raises(SpaceNotFit, match="2 samples"):
        await check_readiness(db, space)


async def test_a_space_retired_during_the_backfill_gets_no_more_templates(
    db: Database, space: EmbeddingSpace, kept: list[tuple[AlignedCrop, ...]]
) -> None:
    await enrolled(db, kept, 12)

    async def retire(report: BackfillReport) -> None:
        if report.added == 4:
            async with db.write() as uow:
                await uow.spaces.lock_exclusive()
                await uow.spaces.set_state(space.space_id, "retired")
                await uow.commit()

    report = await run(db, space, on_progress=retire)
    assert report.stopped
    assert report.added == 4
    async with db.read() as uow:
        assert await uow.templates.count(space.space_id) == 4


async def test_readiness_fails_if_the_networks_differ_from_the_templates(
    db: Database, space: EmbeddingSpace, kept: list[tuple[AlignedCrop, ...]], bundle_dir: Path
) -> None:
    await enrolled(db, kept, 4)
    await run(db, space)
    engine = await asyncio.to_thread(Engine.load, read(bundle_dir), OPTIONS)
    engine.start()
    other = EmbeddingSpace(space.manifest, engine, ExactGallery(space.manifest.encoder.dimension))
    try:
        with pytest.raises(SpaceNotFit):
            await check_readiness(db, other)
    finally:
        await engine.close()


async def test_the_throttle_waits_for_requests_and_rests() -> None:
    busy = True
    throttle = Throttle(busy=lambda: busy, rest=2.0, batch=8, max_wait_s=0.1, quiet_s=0.2)
    started = time.monotonic()
    assert await throttle.turn() == 1
    assert time.monotonic() - started >= 0.1, "it waits for a gap, and not for ever"
    busy = False
    assert await throttle.turn() == 1, "requests were here a moment ago"
    await asyncio.sleep(0.25)
    assert await throttle.turn() == 8
    started = time.monotonic()
    await throttle.pause(0.05)
    assert time.monotonic() - started >= 0.1


def test_a_crop_of_every_alignment_is_made() -> None:
    image = Image(pixels("s01"), Spectrum.VIS)
    eyes = ((100.0, 100.0), (150.0, 100.0), (125.0, 130.0), (105.0, 155.0), (145.0, 155.0))
    made = align_all(image, Face(Box(80, 70, 90, 110), eyes, 0.9))
    assert {crop.alignment_id for crop in made} == set(ALIGNMENTS)
