"""`halflight erase --verify` and the engine that searches: Milvus and PostgreSQL say what they still hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.enrolment.enroller import erase_subject
from service.store.database import Database
from service.store.milvus_index import MilvusIndex
from service.store.search_schema import GalleryOptions
from service.subjects.gallery_residue import GalleryResidue, connect, gallery_residue
from tests.service.cli.command import fails, halflight, succeeds
from tests.service.store.milvus import MilvusServer
from tests.service.store.support import KEYS, SPACE, new_sample, vector

# Its server is written in Python, and so is its client.
pytestmark = pytest.mark.slow

D = 32
CLEAN = GalleryResidue(engine="milvus", of_subject=0, ownerless=0)


def options(server: MilvusServer) -> GalleryOptions:
    return GalleryOptions(kind="milvus", index="exact", milvus_uri=server.uri)


async def opened(url: str, chosen: GalleryOptions) -> Database:
    """A database with one space, which the gallery of the settings has, and the subjects s0 to s2."""
    db = await Database.open(url, KEYS)
    await db.migrate()
    await db.use_gallery(chosen)
    async with db.write() as uow:
        await uow.spaces.register(SPACE, "bundle", D, "active")
        await uow.commit()
    if db.milvus is not None:
        db.milvus.make(await collection(db), D)
    for number in range(3):
        async with db.write() as uow:
            await enrolled(uow, f"s{number}", number)
            await uow.commit()
    return db


async def enrolled(uow: Any, subject_id: str, number: int) -> int:
    await uow.subjects.ensure(subject_id, None)
    sample_id = await uow.samples.add(new_sample(subject_id))
    return int(await uow.templates.add(SPACE, sample_id, vector(number, D)))


async def collection(db: Database) -> str:
    async with db.read() as uow:
        return await uow.search.collection(SPACE)


def put(milvus: MilvusIndex, name: str, template_id: int) -> None:
    milvus.put(name, np.array([template_id], np.int64), vector(9, D)[None])


@pytest.fixture
async def db(pgvector_url: str, milvus: MilvusServer) -> AsyncIterator[Database]:
    made = await opened(pgvector_url, options(milvus))
    yield made
    await made.close()


async def test_milvus_tells_which_rows_are_left(db: Database) -> None:
    assert db.milvus is not None
    name = await collection(db)
    receipt = await erase_subject(db, "s1", "test")
    ((space_id, (gone,)),) = receipt.removed.items()
    assert space_id == SPACE
    assert await gallery_residue(db, "milvus", receipt.removed) == CLEAN
    # Rows that somebody put back: of the subject, and of a template that never was.
    put(db.milvus, name, gone)
    put(db.milvus, name, 10**6)
    found = await gallery_residue(db, "milvus", receipt.removed)
    assert found == GalleryResidue(engine="milvus", of_subject=1, ownerless=1)
    assert not found.clean
    db.milvus.remove(name, [gone, 10**6])
    assert (await gallery_residue(db, "milvus", receipt.removed)).clean
    # Without a collection there is no row.
    db.milvus.drop(name)
    assert await gallery_residue(db, "milvus", receipt.removed) == CLEAN


async def test_the_row_of_an_enrolment_under_way_is_not_one_without_a_template(db: Database) -> None:
    assert db.milvus is not None
    async with db.write() as uow:
        late = await enrolled(uow, "late", 7)
        assert late in {one for part in db.milvus.every(await collection(db)) for one in part}
        asked = asyncio.create_task(gallery_residue(db, "milvus", {}))
        # Longer than a service takes to erase rows; the transaction alone keeps the question open.
        await asyncio.sleep(4.0)
        assert not asked.done()
        await uow.commit()
    assert await asked == CLEAN


async def test_an_engine_that_does_not_answer_is_no_clean_answer(pgvector_url: str, tmp_path: Path) -> None:
    with MilvusServer(tmp_path) as own:
        db = await opened(pgvector_url, options(own))
        receipt = await erase_subject(db, "s0", "test")
        own.kill()
        found = await gallery_residue(db, "milvus", receipt.removed)
        assert found.trouble is not None
        assert (found.of_subject, found.ownerless, found.clean) == (None, None, False)
        await db.close()


async def test_pgvector_is_asked_too(pgvector_url: str) -> None:
    db = await opened(pgvector_url, GalleryOptions(kind="pgvector", index="exact"))
    receipt = await erase_subject(db, "s1", "test")
    found = await gallery_residue(db, "pgvector", receipt.removed)
    assert found == GalleryResidue(engine="pgvector", of_subject=0, ownerless=0)
    async with db.read() as uow:
        alive = await uow.templates.ids(SPACE, -1, 9)
    # Rows of templates that are there are found as such.
    assert (await gallery_residue(db, "pgvector", {SPACE: alive})).of_subject == len(alive) == 2
    await db.close()


async def test_the_embedded_gallery_has_nobody_to_ask(pgvector_url: str) -> None:
    db = await opened(pgvector_url, GalleryOptions())
    await connect(db, GalleryOptions())
    assert await gallery_residue(db, "embedded", {}) == GalleryResidue(engine="embedded")
    await db.close()


def test_the_command_erases_in_milvus_asks_it_and_fails_on_what_is_left(
    pgvector_url: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with MilvusServer(tmp_path) as own:
        db = asyncio.run(opened(pgvector_url, options(own)))
        milvus = db.milvus
        assert milvus is not None
        env = {
            "HALFLIGHT_MASTER_KEY": "5a" * 32,
            "HALFLIGHT_DATABASE_URL": pgvector_url,
            "HALFLIGHT_GALLERY": "milvus",
            "HALFLIGHT_MILVUS_URI": own.uri,
        }
        with_data = ("--verify", "--data", data)
        done = succeeds("erase", "s0", "--json", *with_data, env=env)
        assert json.loads(done.out)["gallery"] == {
            "engine": "milvus",
            "rows_of_subject": 0,
            "rows_without_template": 0,
            "trouble": None,
        }
        # The command erased the row itself: no service runs here that would.
        name = asyncio.run(collection(db))
        assert milvus.count(name) == 2
        put(milvus, name, 10**6)
        left = fails(
            1, "erase", "s1", *with_data, env=env, expected=["milvus has 1 rows", "no template owns"]
        )
        assert "nothing of the subject is left" in left.err, "the files are clean all the same"
        own.kill()
        fails(1, "erase", "s2", *with_data, env=env, expected=["nothing is erased", "Milvus"])
        own.start()
        milvus.load(name)
        milvus.remove(name, [10**6])
        told = halflight("erase", "s2", *with_data, env=env)
        assert told.code == 0
        assert "milvus was asked" in told.err
        asyncio.run(db.close())
