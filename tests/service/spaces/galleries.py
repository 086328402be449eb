"""Spaces with a gallery in files and without networks, and what they should find."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from sqlalchemy import text

from faces.bundle import Manifest
from service.gallery.exact import ExactGallery
from service.gallery.rows import SealedRows
from service.inference.engine import Engine
from service.spaces.snapshots import GallerySnapshots
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from service.store.errors import StoreError
from tests.service.gallery.vectors import Floats, spread
from tests.service.store.support import new_sample


async def register(db: Database, manifest: Manifest) -> None:
    async with db.write() as uow:
        await uow.spaces.register(manifest.space_id, "built-in", manifest.encoder.dimension, "ready")
        await uow.commit()


def opened(
    manifest: Manifest, directory: Path, snapshots: GallerySnapshots | None = None, block_rows: int = 65_536
) -> EmbeddingSpace:
    """A space as a start makes it. Nothing here runs a network."""
    rows = partial(SealedRows, directory=directory / manifest.space_id)
    gallery = ExactGallery(manifest.encoder.dimension, rows=rows, block_rows=block_rows)
    return EmbeddingSpace(manifest, cast(Engine, None), gallery, snapshots=snapshots)


async def enrol(db: Database, manifest: Manifest, numbers: Sequence[int]) -> dict[int, int]:
    """One template for each subject `s{number}`, `spread` by the number; the ids of templates by number."""
    made = {}
    async with db.write() as uow:
        for number in numbers:
            await uow.subjects.ensure(f"s{number}", None)
            sample_id = await uow.samples.add(new_sample(f"s{number}"))
            vector = spread(number, manifest.encoder.dimension)
            made[number] = await uow.templates.add(manifest.space_id, sample_id, vector)
        await uow.commit()
    return made


async def erase(db: Database, numbers: Sequence[int]) -> None:
    async with db.write(erasing=True) as uow:
        for number in numbers:
            await uow.subjects.delete(f"s{number}")
        await uow.commit()


async def skip_ids(db: Database, last: int) -> None:
    """Lets the next template have the id after `last`, as if so many had been enrolled and erased."""
    if db.dialect == "sqlite":
        skip = f"UPDATE sqlite_sequence SET seq = {last} WHERE name = 'templates'"  # noqa: S608
    else:
        skip = f"SELECT setval(pg_get_serial_sequence('templates', 'template_id'), {last})"
    async with db.write() as uow:
        if (
            db.dialect == "sqlite"
            and not (
                await uow.connection.execute(text("SELECT 1 FROM sqlite_sequence WHERE name = 'templates'"))
            ).first()
        ):
            raise StoreError("enrol a template first")
        await uow.connection.execute(text(skip))
        await uow.commit()


def agrees(space: EmbeddingSpace, templates: dict[int, int]) -> None:
    """The gallery holds these templates and no other, and finds what brute force finds."""
    width = space.manifest.encoder.dimension
    assert space.gallery.size == len(templates)
    rows = np.stack([spread(number, width) for number in templates]).astype(np.float64)
    ids = np.array(list(templates.values()))
    queries: Floats = np.stack([spread(number, width) for number in (*templates, 10_001, 10_002)])
    for query, found in zip(queries, space.gallery.search(queries, 5), strict=True):
        scores = rows @ query.astype(np.float64)
        order = np.lexsort((ids, -scores))[:5]
        assert [hit.template_id for hit in found] == ids[order].tolist()
        assert np.allclose([hit.score for hit in found], np.clip(scores[order], -1, 1), atol=1e-12)
