"""The gallery of a space: filled from real databases, and filled again when its file is damaged."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from faces.bundle import read
from service.gallery.exact import ExactGallery
from service.gallery.rows import RowsLost, SealedRows
from service.inference.engine import Engine
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from tests.service.gallery.vectors import spread
from tests.service.inference.faces import OPTIONS
from tests.service.store.support import new_sample

COUNT = 30


@pytest.fixture(scope="module")
def engine(bundle_dir: Path) -> Engine:
    return Engine.load(read(bundle_dir), OPTIONS)


@pytest.fixture
async def space(db: Database, engine: Engine, tmp_path: Path) -> EmbeddingSpace:
    manifest = engine.manifest
    async with db.write() as uow:
        await uow.spaces.register(manifest.space_id, "built-in", manifest.encoder.dimension, "ready")
        await uow.commit()
    gallery = ExactGallery(
        manifest.encoder.dimension, rows=lambda size, width: SealedRows(size, width, tmp_path / "rows")
    )
    return EmbeddingSpace(manifest, engine, gallery)


async def enrol(db: Database, space: EmbeddingSpace, first: int, count: int) -> list[int]:
    """One template for each subject, `spread` by its number."""
    made = []
    async with db.write() as uow:
        for i in range(first, first + count):
            await uow.subjects.ensure(f"s{i}", None)
            sample_id = await uow.samples.add(new_sample(f"s{i}"))
            vector = spread(i, space.manifest.encoder.dimension)
            made.append(await uow.templates.add(space.space_id, sample_id, vector))
        await uow.commit()
    return made


def best(space: EmbeddingSpace, number: int) -> int:
    query = spread(number, space.manifest.encoder.dimension)
    return space.gallery.search(query[None], 1)[0][0].template_id


def damage(space: EmbeddingSpace) -> None:
    assert isinstance(space.gallery, ExactGallery)
    for block in space.gallery._readers.view.blocks:
        assert isinstance(block._rows, SealedRows)
        os.ftruncate(block._rows._descriptor, 0)


async def test_the_tail_of_the_log_is_applied_many_rows_at_a_time_and_in_order(
    db: Database, space: EmbeddingSpace
) -> None:
    await space.follow(db)
    ids = await enrol(db, space, 0, COUNT)
    async with db.write(erasing=True) as uow:
        for i in (3, 4, 20):
            await uow.subjects.delete(f"s{i}")
        await uow.commit()
    ids += await enrol(db, space, COUNT, 5)
    assert await space.catch_up(db) == COUNT + 3 + 5
    assert space.gallery.size == COUNT - 3 + 5
    assert [best(space, i) for i in (0, 19, 29, 34)] == [ids[i] for i in (0, 19, 29, 34)]
    assert best(space, 4) != ids[4]


async def test_a_gallery_whose_file_is_damaged_says_so_and_is_filled_again(
    db: Database, space: EmbeddingSpace
) -> None:
    ids = await enrol(db, space, 0, COUNT)
    await space.follow(db)
    damage(space)
    with pytest.raises(RowsLost):
        best(space, 3)
    await space.catch_up(db)
    assert [best(space, i) for i in range(COUNT)] == ids


async def test_rows_that_are_lost_while_they_move_stop_no_erasure(
    db: Database, space: EmbeddingSpace, tmp_path: Path
) -> None:
    width = space.manifest.encoder.dimension
    space.gallery = ExactGallery(
        width, block_rows=16, rows=lambda size, wide: SealedRows(size, wide, tmp_path / "rows")
    )
    ids = await enrol(db, space, 0, COUNT)
    await space.follow(db)
    damage(space)
    async with db.write(erasing=True) as uow:
        for i in range(14):
            await uow.subjects.delete(f"s{i}")
        await uow.commit()
    await space.catch_up(db)
    assert space.gallery.size == COUNT - 14
    found = space.gallery.search(np.stack([spread(i, width) for i in range(COUNT)]), COUNT)
    assert {hit.template_id for hits in found for hit in hits} == set(ids[14:])
