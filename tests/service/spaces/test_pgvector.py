"""The gallery in PostgreSQL: one transaction with the enrolment, secret rows, erasure, recall."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from sqlalchemy import text

from service.gallery.exact import ExactGallery
from service.sealing.sources import GivenKeys, KeyFile, MasterKeys
from service.spaces.pgvector_gallery import PgvectorGallery, rounding
from service.store.clear_rows import seal_clear_rows
from service.store.database import Database
from service.store.errors import StoreError
from service.store.rotation import rotate_master
from service.store.search_schema import GalleryOptions, GalleryRefused, IndexKind, index_name
from tests.service.gallery.oracle import gallery_rows
from tests.service.gallery.stored import StoredGallery
from tests.service.store.postgres import Server, fresh_database, server
from tests.service.store.support import SPACE, D, enrol, enrolled, vector

Floats = NDArray[np.float32]
KEYS = MasterKeys(GivenKeys("5a" * 32))
OPTIONS = {kind: GalleryOptions(kind="pgvector", index=kind) for kind in ("exact", "hnsw")}


async def opened(url: str, index: IndexKind = "exact", keys: MasterKeys = KEYS) -> Database:
    """A database with one active space whose templates have search vectors."""
    db = await Database.open(url, keys)
    await db.migrate()
    await db.use_gallery(OPTIONS[index])
    async with db.write() as uow:
        await uow.spaces.register(SPACE, "bundle", D, "active")
        await uow.commit()
    return db


@pytest.fixture
async def db(pgvector_url: str) -> AsyncIterator[Database]:
    made = await opened(pgvector_url)
    yield made
    await made.close()


async def gallery_of(db: Database) -> PgvectorGallery:
    assert db.search is not None
    async with db.read() as uow:
        return PgvectorGallery(db.search, SPACE, await uow.search.transform(SPACE, D))


async def found_by(db: Database, query: Floats, k: int = 9) -> list[int]:
    gallery = await gallery_of(db)
    (hits,) = await asyncio.to_thread(gallery.search, query[None], k)
    return [hit.template_id for hit in hits]


async def rows_of(db: Database) -> dict[int, Floats]:
    """The search vectors, as the database holds them."""
    async with db.read() as uow:
        query = text("SELECT template_id, CAST(vector AS TEXT) FROM search_vectors ORDER BY template_id")
        rows = (await uow.connection.execute(query)).all()
    return {row[0]: np.array(row[1][1:-1].split(","), np.float32) for row in rows}


async def test_an_enrolment_is_searched_with_its_commit_and_not_before(db: Database) -> None:
    async with db.write() as uow:
        (template_id,) = await enrol(uow, "ann", vector(1))
        assert await found_by(db, vector(1)) == []
        await uow.commit()
    assert await found_by(db, vector(1)) == [template_id]
    async with db.write() as uow:
        await enrol(uow, "bob", vector(2))
    assert await found_by(db, vector(2)) == [template_id]
    assert list(await rows_of(db)) == [template_id]


async def test_another_process_finds_it_at_once_and_nobody_once_it_is_erased(
    db: Database, pgvector_url: str
) -> None:
    other = await opened(pgvector_url)
    made = await enrolled(db, "ann", vector(1), vector(2))
    kept = await enrolled(other, "bob", vector(3))
    for one in (db, other):
        assert sorted(await found_by(one, vector(1))) == sorted([*made, *kept])
    async with other.write(erasing=True) as uow:
        assert await uow.subjects.delete("ann") is not None
        await uow.commit()
    for one in (db, other):
        assert await found_by(one, vector(1)) == kept
    assert list(await rows_of(db)) == kept
    await other.close()


async def test_scores_are_those_of_the_embedded_gallery(db: Database) -> None:
    vectors = np.stack([vector(seed) for seed in range(60)])
    ids = np.array(await enrolled(db, "ann", *vectors), np.int64)
    embedded = ExactGallery(D)
    embedded.add(ids, vectors)
    queries = np.stack([vector(100 + seed) for seed in range(10)])
    gallery = await gallery_of(db)
    assert await asyncio.to_thread(gallery.search, queries, 7) == embedded.search(queries, 7)


async def test_rows_are_secret_and_fit_no_other_database(
    db: Database, pgvector_server: Server, migrated_pgvector: str
) -> None:
    vectors = np.stack([vector(seed) for seed in range(5)])
    await enrolled(db, "ann", *vectors)
    rows = np.stack(list((await rows_of(db)).values()))
    # Among themselves as near as the templates; to the templates not at all.
    assert np.abs(rows @ rows.T - vectors @ vectors.T).max() < rounding(D)
    assert np.abs(np.diag(rows @ vectors.T)).max() < 0.95
    with fresh_database(pgvector_server.address, migrated_pgvector) as url:
        # Under the same master key: a copy of one file of keys gives no other deployment the transform.
        other = await opened(url)
        await enrolled(other, "ann", *vectors)
        theirs = np.stack(list((await rows_of(other)).values()))
        await other.close()
    assert np.abs(np.diag(rows @ theirs.T)).max() < 0.95


async def test_a_new_master_key_keeps_the_rows(pgvector_url: str, tmp_path: Path) -> None:
    keys = MasterKeys(KeyFile(tmp_path / "master.key"))
    db = await opened(pgvector_url, keys=keys)
    await seal_clear_rows(db, lambda *_crop: None)
    (first,) = await enrolled(db, "ann", vector(1))
    before = await rows_of(db)
    await rotate_master(db)
    await db.close()
    again = await opened(pgvector_url, keys=MasterKeys(KeyFile(tmp_path / "master.key")))
    (second,) = await enrolled(again, "bob", vector(1))
    after = await rows_of(again)
    assert (after[first] == before[first]).all()
    assert (after[second] == before[first]).all()
    assert sorted(await found_by(again, vector(1))) == [first, second]
    await again.close()


async def test_a_writer_without_the_setting_stores_rows_as_well(db: Database, pgvector_url: str) -> None:
    """Such as a command that imports."""
    plain = await Database.open(pgvector_url, KEYS)
    made = await enrolled(plain, "ann", vector(1))
    assert await found_by(db, vector(1)) == made
    await plain.close()


async def test_a_row_that_somebody_changed_in_the_index_matches_nobody(db: Database) -> None:
    (ann,) = await enrolled(db, "ann", vector(1))
    (bob,) = await enrolled(db, "bob", vector(2))
    async with db.write() as uow:
        forged = (
            "UPDATE search_vectors SET vector = (SELECT vector FROM search_vectors WHERE template_id = :a)"
        )
        await uow.connection.execute(text(forged), {"a": ann})
        await uow.commit()
    gallery = await gallery_of(db)
    (hits,) = await asyncio.to_thread(gallery.search, vector(1)[None], 2)
    scores = {hit.template_id: hit.score for hit in hits}
    assert scores[ann] == pytest.approx(1.0, abs=1e-6)
    assert scores[bob] == pytest.approx(float(vector(1) @ vector(2)), abs=1e-6)


async def test_a_template_that_does_not_open_is_refused_and_not_found(db: Database) -> None:
    ann, bob = await enrolled(db, "ann", vector(1), vector(2))
    async with db.write() as uow:
        swap = "UPDATE templates SET vector = (SELECT vector FROM templates WHERE template_id = :b)"
        await uow.connection.execute(text(f"{swap} WHERE template_id = :a"), {"a": ann, "b": bob})
        await uow.commit()
    assert await found_by(db, vector(1)) == [bob]
    assert f"template {ann}" in db.refused


async def test_every_template_is_looked_at_without_a_search(db: Database) -> None:
    made = await enrolled(db, "ann", *(vector(seed) for seed in range(3)))
    async with db.write() as uow:
        change = text("UPDATE templates SET vector = '\\x00' WHERE template_id = :a")
        await uow.connection.execute(change, {"a": made[1]})
        await uow.commit()
    async with db.read() as uow:
        assert await uow.search.refuse_sealed(SPACE, -1) == made[-1]
        assert await uow.search.refuse_sealed(SPACE, made[-1]) is None
    assert str(db.refused).endswith(f"is refused: template {made[1]}")


async def test_erased_vectors_leave_the_table_the_index_and_the_statistics(pgvector_url: str) -> None:
    db = await opened(pgvector_url, "hnsw")
    gallery = await gallery_of(db)
    await asyncio.to_thread(gallery.arrange)
    await enrolled(db, "ann", *(vector(seed) for seed in range(20)))
    await enrolled(db, "bob", *(vector(seed) for seed in range(20, 40)))
    async with db.read() as uow:
        stored = [await uow.search.stored_bytes(SPACE, vector(seed)) for seed in range(40)]
    assert await _seen(db, stored) == {"search_vectors": 40, index_name(SPACE): 40}
    async with db.write(erasing=True) as uow:
        await uow.subjects.delete("ann")
        await uow.commit()
    # Waits for the vacuum that the erasure began.
    await db.close()
    again = await opened(pgvector_url, "hnsw")
    seen = await _seen(again, stored[:20])
    assert seen[index_name(SPACE)] == 0, "pgvector overwrites what it erases"
    async with again.read() as uow:
        dead = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'search_vectors'"
        assert (await uow.connection.execute(text(dead))).scalar_one() == 0
        await uow.connection.execute(text("ANALYZE search_vectors"))
        kept = "SELECT count(*) FROM pg_stats WHERE tablename = 'search_vectors' AND attname = 'vector'"
        assert (await uow.connection.execute(text(kept))).scalar_one() == 0
    # Written anew, not one byte is left in the table either.
    await again.rewrite()
    assert await _seen(again, stored[:20]) == {"search_vectors": 0, index_name(SPACE): 0}
    assert await _seen(again, stored[20:]) == {"search_vectors": 20, index_name(SPACE): 20}
    await again.close()


async def _seen(db: Database, stored: list[bytes]) -> dict[str, int]:
    """How many of these values the files of table and index hold."""
    async with db.read() as uow:
        await uow.connection.execute(text("CHECKPOINT"))
        data = Path((await uow.connection.execute(text("SHOW data_directory"))).scalar_one())
        place = text("SELECT pg_relation_filepath(:name)")
        files = {
            name: data / (await uow.connection.execute(place, {"name": name})).scalar_one()
            for name in ("search_vectors", index_name(SPACE))
        }
    return {name: sum(one in file.read_bytes() for one in stored) for name, file in files.items()}


async def test_templates_from_before_get_their_rows(pgvector_url: str) -> None:
    plain = await Database.open(pgvector_url, KEYS)
    await plain.migrate()
    async with plain.write() as uow:
        await uow.spaces.register(SPACE, "bundle", D, "active")
        await uow.commit()
    made = await enrolled(plain, "ann", *(vector(seed) for seed in range(4)))
    db = await opened(pgvector_url)
    async with db.read() as uow:
        missing = await uow.search.missing(SPACE, D, None)
        assert missing.ids.tolist() == made
        assert (missing.vectors == np.stack([vector(seed) for seed in range(4)])).all()
        assert (await uow.search.missing(SPACE, D, missing.last)).last is None
    gallery = await gallery_of(db)
    await asyncio.to_thread(gallery.add, missing.ids, missing.vectors)
    assert (await found_by(db, vector(2)))[0] == made[2]
    # A process that has opened the database before there were rows goes on without them.
    late = await enrolled(plain, "bob", vector(9))
    async with db.read() as uow:
        seq, count = await uow.search.counted(SPACE)
        tail = await uow.search.tail(SPACE, 0)
    assert (seq, count) == (5, 4)
    assert (tail.seq, tail.added, tail.removed, tail.missing) == (5, 5, 0, tuple(late))
    await plain.close()
    await db.close()


async def test_a_deleted_space_takes_its_rows_and_its_index_along(pgvector_url: str) -> None:
    db = await opened(pgvector_url, "hnsw")
    gallery = await gallery_of(db)
    await asyncio.to_thread(gallery.arrange)
    await enrolled(db, "ann", vector(1))
    async with db.write() as uow:
        await uow.spaces.delete(SPACE)
        await uow.commit()
    assert db.search is not None
    await asyncio.to_thread(db.search.forget, SPACE)
    assert await rows_of(db) == {}
    async with db.read() as uow:
        there = text("SELECT to_regclass(:name)")
        assert (await uow.connection.execute(there, {"name": index_name(SPACE)})).scalar_one() is None
    await db.close()


async def test_a_database_that_cannot_keep_it_is_refused_in_one_sentence(tmp_path: Path) -> None:
    db = await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'one.db'}", KEYS)
    await db.migrate()
    with pytest.raises(GalleryRefused, match="needs PostgreSQL"):
        await db.use_gallery(OPTIONS["exact"])
    await db.use_gallery(GalleryOptions())
    await db.close()


async def test_a_server_without_the_extension_is_refused_in_one_sentence(postgres: str) -> None:
    with fresh_database(postgres) as url:
        db = await Database.open(url, KEYS)
        await db.migrate()
        with pytest.raises(GalleryRefused, match="needs PostgreSQL's extension pgvector, which this server"):
            await db.use_gallery(OPTIONS["exact"])
        await db.close()


async def test_the_embedded_gallery_does_not_leave_rows_in_clear_behind(
    db: Database, pgvector_url: str
) -> None:
    other = await Database.open(pgvector_url, KEYS)
    with pytest.raises(GalleryRefused, match="halflight gallery erase"):
        await other.use_gallery(GalleryOptions())
    async with other.write() as uow:
        await uow.search.erase_all()
        await uow.commit()
    await other.close()
    again = await Database.open(pgvector_url, KEYS)
    await again.use_gallery(GalleryOptions())
    await enrolled(again, "ann", vector(1))
    await again.close()


@pytest.fixture
def own_server(pgvector_server: Server) -> Iterator[Server]:
    """A server that a test may stop; another one runs for the others."""
    with server(Path(pgvector_server.command[0]).parent, icu=False) as running:
        yield running


async def test_a_server_that_goes_away_is_an_error_and_comes_back(own_server: Server) -> None:
    with fresh_database(own_server.address) as url:
        db = await opened(url)
        made = await enrolled(db, "ann", vector(1))
        assert await found_by(db, vector(1)) == made
        gallery = await gallery_of(db)
        own_server.stop()
        for _ in range(2):
            with pytest.raises(StoreError):
                await asyncio.to_thread(gallery.search, vector(1)[None], 1)
        own_server.start()
        assert await found_by(db, vector(1)) == made
        await db.close()


# Half of what was measured: see `benchmarks.pgvector`.
@pytest.mark.parametrize(("kind", "least"), [("random", 0.7), ("clusters", 0.9)])
def test_hnsw_finds_most_of_the_best_with_their_exact_scores(
    pgvector_url: str, kind: str, least: float
) -> None:
    rows = gallery_rows(kind, 2500, 128)
    stored = StoredGallery(pgvector_url, 128, index="hnsw")
    stored.add(np.arange(len(rows)), rows)
    stored.inner.arrange()
    embedded = ExactGallery(128)
    embedded.add(np.arange(len(rows)), rows)
    queries = gallery_rows(kind, 2540, 128)[-40:]
    right = 0
    for query in queries:
        (expected,), (found,) = embedded.search(query[None], 10), stored.search(query[None], 10)
        scores = {hit.template_id: hit.score for hit in embedded.search(query[None], 2500)[0]}
        assert all(hit.score == scores[hit.template_id] for hit in found)
        assert len(found) == 10
        right += len({hit.template_id for hit in expected} & {hit.template_id for hit in found})
    with stored.connect() as connection:
        assert _plan(connection, stored, queries[0]).count(index_name(stored.space_id)) == 1
    # More than HNSW can give are looked for among all.
    (every,) = stored.search(queries[:1], 2500)
    assert every == embedded.search(queries[:1], 2500)[0]
    stored.close()
    assert right / 400 >= least


def _plan(connection: psycopg.Connection[tuple[str]], stored: StoredGallery, query: Floats) -> str:
    asked = "[" + ",".join(map(str, query.tolist())) + "]"
    rows = connection.execute(
        "EXPLAIN SELECT template_id FROM search_vectors WHERE space_id = %s"
        " ORDER BY vector::halfvec(128) <#> %s::halfvec(128) LIMIT 200",
        (stored.space_id, asked),
    ).fetchall()
    return "\n".join(row[0][:120] for row in rows)
