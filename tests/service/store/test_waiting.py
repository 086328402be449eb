"""A locked database: every writer waits no longer than one deadline, and nobody else waits at all."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psycopg
import pytest

from service.store import database
from service.store.database import POSTGRES_WRITERS, Database
from service.store.errors import StoreBusy
from service.store.spaces import ENROLMENT_LOCK
from tests.conftest import StartService, sample_bytes
from tests.service.api.test_errors import enroll, identify, problem
from tests.service.store.support import SPACE

WAIT_S = 2.0
WRITERS = 2 * POSTGRES_WRITERS + 4


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Another process holds what writers need: SQLite's write lock, PostgreSQL's lock of enrolments."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.split("///")[1], isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
        connection.close()
        return
    with psycopg.connect(url.replace("+psycopg", "")) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(%s)", [ENROLMENT_LOCK])
        yield


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    db = await Database.open(url)
    await db.migrate()
    try:
        yield db
    finally:
        await db.close()


async def write(db: Database) -> float:
    """Waits for the lock of enrolments; the time after which it was refused."""
    started = time.monotonic()
    with pytest.raises(StoreBusy):
        async with db.write() as uow:
            await uow.spaces.lock_enrolments()
            await uow.commit()
    return time.monotonic() - started


async def test_all_writers_are_refused_together_and_readers_go_on(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "WRITE_WAIT_S", WAIT_S)
    async with opened(database_url) as db:
        with locked(database_url):
            writers = [asyncio.create_task(write(db)) for _ in range(WRITERS)]
            await asyncio.sleep(WAIT_S / 4)
            async with asyncio.timeout(WAIT_S / 2), db.read() as uow:
                assert await uow.spaces.get(SPACE) is None
            waited = await asyncio.gather(*writers)
        # One after the other they would need as many times the deadline as there are places.
        assert min(waited) > WAIT_S / 2
        assert max(waited) < 2.5 * WAIT_S
        assert isinstance(db.write_trouble, StoreBusy)
        async with db.write() as uow:
            await uow.commit()
        assert db.write_trouble is None


def test_a_locked_database_refuses_enrolments_and_matching_goes_on(
    start_service: StartService, tmp_path: Path
) -> None:
    service = start_service(data=tmp_path / "locked")
    photo = sample_bytes("s01")
    with service.client() as client:
        assert enroll(client, "anna", photo).status_code == 201
        with locked(f"sqlite:///{service.data / 'halflight.db'}"):
            refused = problem(enroll(client, "bert", sample_bytes("s02")), 503, "storage_busy")
            assert "nothing was stored" in refused["detail"]
            assert identify(client, photo).json()["results"][0]["decision"] == "match"
            ready = client.get("/health/ready")
            assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
            assert "other writers" in ready.json()["detail"]
        assert enroll(client, "bert", sample_bytes("s02")).status_code == 201
        assert client.get("/health/ready").json()["status"] == "ready"
