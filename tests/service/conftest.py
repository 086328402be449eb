"""Databases for the tests: SQLite and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from service.settings import builtin_bundle
from service.store.database import Database
from tests.conftest import Service
from tests.service.store.postgres import find_binaries, fresh_database, running_server
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


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database without a schema."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'halflight.db'}"
        return
    with fresh_database(request.getfixturevalue("postgres")) as url:
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
