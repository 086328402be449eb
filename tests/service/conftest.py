"""Databases for the tests: SQLite and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.settings import builtin_bundle
from service.store.database import Database
from tests.conftest import Service
from tests.service.store.milvus import MilvusServer
from tests.service.store.postgres import (
    Server,
    find_binaries,
    fresh_database,
    pgvector_binaries,
    running_server,
    server,
)
from tests.service.store.support import KEYS, SPACE, D


@pytest.fixture(scope="module")
def builtin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the built-in bundle, of one module of tests: what it enrols, no other one meets."""
    env = {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle())}
    running = Service(tmp_path_factory.mktemp("builtin") / "data", env).start()
    yield running
    running.stop()


@pytest.fixture
def builtin_client(builtin: Service) -> Iterator[httpx.Client]:
    with builtin.client() as client:
        yield client


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with running_server(binaries) as server:
        yield server


@pytest.fixture(scope="session")
def pgvector_server() -> Iterator[Server]:
    """PostgreSQL with pgvector, which tests may stop and start again."""
    with pgvector_binaries() as binaries, server(binaries, icu=False) as running:
        yield running


@pytest.fixture(scope="session")
def migrated_pgvector(pgvector_server: Server) -> Iterator[str]:
    """The name of a migrated database of that server."""
    with fresh_database(pgvector_server.address) as url:
        migrate(url)
        yield url.rpartition("/")[2]


@pytest.fixture
def pgvector_url(pgvector_server: Server, migrated_pgvector: str) -> Iterator[str]:
    """A migrated database of a server that has pgvector."""
    with fresh_database(pgvector_server.address, migrated_pgvector) as url:
        yield url


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """A server that speaks Milvus's protocol."""
    with MilvusServer(tmp_path_factory.mktemp("milvus")) as running:
        yield running


def migrate(url: str) -> None:
    """Gives a database the schema, from its first revision to the newest."""

    async def migrated() -> None:
        db = await Database.open(url)
        await db.migrate()
        await db.close()

    # In a thread, because the loop of a test may belong to this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(migrated())).result()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy: running every migration takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "halflight.db"
    migrate(f"sqlite+aiosqlite:///{path}")
    assert [one.name for one in path.parent.iterdir()] == [path.name], "a journal holds a part of it"
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres: str) -> Iterator[str]:
    """The name of a migrated database of PostgreSQL, which new ones are copied from."""
    with fresh_database(postgres) as url:
        migrate(url)
        yield url.rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database: without a schema, unless the test asks for `db`, which has the newest."""
    migrated = "db" in request.fixturenames
    if request.param == "sqlite":
        path = tmp_path / "halflight.db"
        if migrated:
            shutil.copyfile(request.getfixturevalue("migrated_sqlite"), path)
        yield f"sqlite+aiosqlite:///{path}"
        return
    template = request.getfixturevalue("migrated_postgres") if migrated else None
    with fresh_database(request.getfixturevalue("postgres"), template) as url:
        yield url


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """A migrated database with one active space of `D` dimensions."""
    opened = await Database.open(database_url, KEYS)
    await opened.migrate()
    async with opened.write() as uow:
        await uow.spaces.register(SPACE, "bundle", D, "active")
        await uow.commit()
    yield opened
    await opened.close()
