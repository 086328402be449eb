"""The gallery in Milvus: rows before the commit, secret rows, erasure, mending, recall, no server."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from faces.bundle import Manifest, read
from service.gallery.exact import ExactGallery
from service.inference.engine import Engine
from service.spaces import milvus_space as module
from service.spaces.milvus_gallery import rounding
from service.spaces.milvus_space import MilvusSpace, milvus_space
from service.store.database import Database
from service.store.errors import StoreError
from service.store.milvus_index import MilvusIndex
from service.store.search_schema import GalleryOptions, GalleryRefused
from tests.conftest import free_port
from tests.service.gallery.oracle import gallery_rows
from tests.service.gallery.stored_milvus import StoredInMilvus
from tests.service.gallery.vectors import spread
from tests.service.spaces.galleries import agrees, enrol, erase, register
from tests.service.store.milvus import MilvusServer
from tests.service.store.support import KEYS, new_sample

# Its server is written in Python, and so is its client.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def manifest(bundle_dir: Path) -> Manifest:
    return read(bundle_dir).manifest


def options(server: MilvusServer) -> GalleryOptions:
    return GalleryOptions(kind="milvus", index="exact", milvus_uri=server.uri)


async def opened(url: str, server: MilvusServer) -> Database:
    db = await Database.open(url, KEYS)
    await db.migrate()
    await db.use_gallery(options(server))
    return db


@pytest.fixture
async def db(pgvector_url: str, milvus: MilvusServer, manifest: Manifest) -> AsyncIterator[Database]:
    made = await opened(pgvector_url, milvus)
    await register(made, manifest)
    yield made
    await made.close()


async def started(db: Database, manifest: Manifest) -> MilvusSpace:
    """A space as a start makes it. Nothing here runs a network."""
    space = await milvus_space(db, manifest, cast(Engine, None), "")
    await space.follow(db)
    return space


def found(space: MilvusSpace, number: int) -> list[int]:
    query = spread(number, space.manifest.encoder.dimension)
    return [hit.template_id for hit in space.gallery.search(query[None], 9)[0]]


def rows_of(space: MilvusSpace) -> set[int]:
    return {one for part in space.gallery.index.every(space.gallery.name) for one in part}


async def test_replicas_find_what_is_committed_at_once_and_nobody_who_is_erased(
    db: Database, pgvector_url: str, milvus: MilvusServer, manifest: Manifest
) -> None:
    other = await opened(pgvector_url, milvus)
    here, there = await started(db, manifest), await started(other, manifest)
    made = await enrol(db, manifest, range(4)) | await enrol(other, manifest, range(4, 6))
    for space in (here, there):
        assert sorted(found(space, 0)) == sorted(made.values())
    async with db.write() as uow:
        await uow.subjects.ensure("late", None)
        vector = spread(77, manifest.encoder.dimension)
        late = await uow.templates.add(manifest.space_id, await uow.samples.add(new_sample("late")), vector)
        # Its row is there already, and opens nothing.
        assert late in rows_of(here)
        assert late not in found(there, 77)
        await uow.commit()
    assert found(there, 77)[0] == late
    await erase(other, [0, 4])
    kept = {number: one for number, one in made.items() if number not in (0, 4)} | {77: late}
    for space in (here, there):
        assert rows_of(space) == set(kept.values())
        await space.catch_up(other)
        agrees(space, kept)
    await other.close()


async def test_rows_are_secret(db: Database, manifest: Manifest) -> None:
    space, width = await started(db, manifest), manifest.encoder.dimension
    made = await enrol(db, manifest, range(5))
    vectors = np.stack([spread(number, width) for number in made])
    with space.gallery.index._calling() as client:
        stored = client.get(space.gallery.name, ids=list(made.values()), output_fields=["vector"])
    by_id = {row["template_id"]: row["vector"] for row in stored}
    rows = np.array([by_id[one] for one in made.values()], np.float32)
    # Among themselves as near as the templates; to the templates not at all.
    assert np.abs(rows @ rows.T - vectors @ vectors.T).max() < 2 * rounding(width)
    assert np.abs(np.diag(rows @ vectors.T)).max() < 0.5
    assert space.gallery.name.startswith("halflight_")
    assert manifest.space_id not in space.gallery.name


async def test_what_a_writer_left_undone_is_mended(
    db: Database, pgvector_url: str, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.0)
    space = await started(db, manifest)
    made = await enrol(db, manifest, range(3))
    # A process without Milvus enrols and erases, such as a command.
    plain = await Database.open(pgvector_url, KEYS)
    made |= await enrol(plain, manifest, [3])
    await erase(plain, [0])
    await plain.close()
    assert rows_of(space) == {made[0], made[1], made[2]}
    assert made[0] not in found(space, 0)
    assert await space.behind(db) == 1
    await space.catch_up(db)
    assert await space.behind(db) == 0
    del made[0]
    assert rows_of(space) == set(made.values())
    agrees(space, made)
    # A transaction that never ends, of this process and of one that was killed.
    width = manifest.encoder.dimension
    async with db.write() as uow:
        await uow.subjects.ensure("never", None)
        sample_id = await uow.samples.add(new_sample("never"))
        await uow.templates.add(manifest.space_id, sample_id, spread(9, width))
    assert len(rows_of(space)) == len(made) + 1
    await space.catch_up(db)
    assert rows_of(space) == set(made.values())
    strange = np.array([10**6], np.int64)
    space.gallery.put(strange, spread(9, width)[None])
    await space.look_at_seals(db)
    assert rows_of(space) == set(made.values())


async def test_a_collection_that_somebody_dropped_or_emptied_misses_nobody(
    db: Database, manifest: Manifest
) -> None:
    space = await started(db, manifest)
    made = await enrol(db, manifest, range(3))
    await space.catch_up(db)
    space.gallery.index.drop(space.gallery.name)
    with pytest.raises(StoreError):
        found(space, 1)
    # Another replica makes it anew, and has not filled it yet.
    space.gallery.arrange()
    with pytest.raises(StoreError, match="lacks rows"):
        found(space, 1)
    with pytest.raises(StoreError, match="lacks rows"):
        await space.behind(db)
    await space.catch_up(db)
    agrees(space, made)


@pytest.fixture
async def own_db(pgvector_url: str, own_milvus: MilvusServer) -> AsyncIterator[Database]:
    made = await opened(pgvector_url, own_milvus)
    yield made
    await made.close()


async def test_a_server_that_goes_away_is_an_error_and_comes_back_with_its_rows(
    own_db: Database, own_milvus: MilvusServer, manifest: Manifest
) -> None:
    db = own_db
    await register(db, manifest)
    space = await started(db, manifest)
    made = await enrol(db, manifest, range(3))
    own_milvus.kill()
    with pytest.raises(StoreError):
        await asyncio.to_thread(found, space, 1)
    with pytest.raises(StoreError):
        await enrol(db, manifest, [5])
    with pytest.raises(StoreError):
        await erase(db, [0])
    own_milvus.start()
    # Neither was half done.
    assert sorted(await asyncio.to_thread(found, space, 0)) == sorted(made.values())
    await erase(db, [0])
    del made[0]
    made |= await enrol(db, manifest, [6])
    await space.catch_up(db)
    agrees(space, made)
    # A start over it finds all of it.
    again = await started(db, manifest)
    agrees(again, made)


def test_a_server_that_was_gone_for_long_is_found_as_soon_as_it_is_back(own_milvus: MilvusServer) -> None:
    index = MilvusIndex(options(own_milvus))
    index.connect()
    index.ping()
    own_milvus.kill()
    # gRPC waits longer after each attempt, up to two minutes.
    end = time.monotonic() + 8
    while time.monotonic() < end:
        with pytest.raises(StoreError):
            index.ping()
        time.sleep(0.1)
    own_milvus.start()
    index.ping()
    index.close()


# With 100 candidates of 1,200: a change that loses the graph shows.
@pytest.mark.parametrize(("kind", "least"), [("clusters", 0.8)])
def test_hnsw_finds_most_of_the_best_with_their_exact_scores(
    pgvector_url: str, milvus: MilvusServer, kind: str, least: float
) -> None:
    rows = gallery_rows(kind, 1200, 64)
    stored = StoredInMilvus(pgvector_url, milvus.uri, 64, index="hnsw", candidates=100)
    stored.add(np.arange(len(rows)), rows)
    embedded = ExactGallery(64)
    embedded.add(np.arange(len(rows)), rows)
    queries = gallery_rows(kind, 1220, 64)[-20:]
    right = 0
    for query in queries:
        (expected,), (given,) = embedded.search(query[None], 10), stored.search(query[None], 10)
        scores = {hit.template_id: hit.score for hit in embedded.search(query[None], 1200)[0]}
        assert all(hit.score == scores[hit.template_id] for hit in given)
        assert len(given) == 10
        right += len({hit.template_id for hit in expected} & {hit.template_id for hit in given})
    stored.close()
    assert right / 200 >= least


async def test_settings_that_do_not_suffice_are_refused_in_one_sentence(
    tmp_path: Path, pgvector_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    sqlite = await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'one.db'}", KEYS)
    with pytest.raises(GalleryRefused, match="needs PostgreSQL"):
        await sqlite.use_gallery(GalleryOptions(kind="milvus", milvus_uri=nowhere))
    await sqlite.close()
    db = await Database.open(pgvector_url, KEYS)
    with pytest.raises(GalleryRefused, match="needs HALFLIGHT_MILVUS_URI"):
        await db.use_gallery(GalleryOptions(kind="milvus"))
    with pytest.raises(GalleryRefused, match="does not answer at the address"):
        await db.use_gallery(GalleryOptions(kind="milvus", milvus_uri=nowhere))
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(GalleryRefused, match="pip install 'halflight\\[milvus\\]'"):
        await db.use_gallery(GalleryOptions(kind="milvus", milvus_uri=nowhere))
    await db.close()
