from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text

from service.store.columns import metadata
from service.store.database import Database
from service.store.errors import StoreError
from service.store.revisions import MIGRATIONS, current_revision, newest_revision
from tests.conftest import free_port
from tests.service.store.support import SPACE, D


def differences(connection: Connection) -> list[str]:
    context = MigrationContext.configure(connection, opts={"target_metadata": metadata})
    return [repr(difference) for difference in compare_metadata(context, metadata)]


async def test_the_migrations_create_the_tables_of_the_code(db: Database) -> None:
    async with db.read() as uow:
        assert await uow.connection.run_sync(differences) == []


def test_the_comparison_detects_a_missing_column(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.begin() as connection:
        metadata.create_all(connection)
        connection.execute(text("ALTER TABLE jobs DROP COLUMN stage"))
        assert any("stage" in difference for difference in differences(connection))
    engine.dispose()


async def test_migrations_and_tables_give_sqlite_the_same_constraints(tmp_path: Path) -> None:
    """`compare_metadata` does not see checks, partial indexes and AUTOINCREMENT; SQLite's text does."""

    def statements(path: Path) -> dict[str, list[str]]:
        with sqlite3.connect(path) as connection:
            rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        connection.close()
        # The order of a table's parts says nothing.
        return {
            name: sorted(part.strip(" ,\t()").replace('"', "") for part in sql.splitlines())
            for name, sql in rows
            if name not in {"alembic_version", "sqlite_sequence"}
        }

    migrated, created = tmp_path / "migrated.db", tmp_path / "created.db"
    db = await Database.open(f"sqlite+aiosqlite:///{migrated}")
    await db.migrate()
    await db.close()
    engine = create_engine(f"sqlite:///{created}")
    metadata.create_all(engine)
    engine.dispose()
    assert statements(migrated) == statements(created)


async def test_replicas_that_start_together_migrate_once(database_url: str) -> None:
    replicas = await asyncio.gather(*(Database.open(database_url) for _ in range(4)))
    await asyncio.gather(*(replica.migrate() for replica in replicas))
    await replicas[0].migrate()
    async with replicas[1].read() as uow:
        names = await uow.connection.run_sync(lambda connection: inspect(connection).get_table_names())
        assert set(names) == {*metadata.tables, "alembic_version"}
    await asyncio.gather(*(replica.close() for replica in replicas))


async def test_replicas_that_start_together_register_one_space(database_url: str) -> None:
    replicas = await asyncio.gather(*(Database.open(database_url) for _ in range(4)))
    await replicas[0].migrate()

    async def claim(replica: Database) -> None:
        async with replica.write() as uow:
            await uow.spaces.register(SPACE, "bundle", D, "registered")
            await uow.spaces.set_state(SPACE, "active")
            await uow.commit()

    await asyncio.gather(*(claim(replica) for replica in replicas))
    async with replicas[1].read() as uow:
        assert [space.space_id for space in await uow.spaces.all()] == [SPACE]
    await asyncio.gather(*(replica.close() for replica in replicas))


async def test_the_newest_revision_is_alembics_head_and_that_of_a_migrated_database(db: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert newest_revision() == ScriptDirectory.from_config(config).get_current_head()
    async with db.read() as uow:
        assert await uow.connection.run_sync(current_revision) == newest_revision()


async def test_a_database_without_a_schema_has_no_revision(database_url: str) -> None:
    empty = await Database.open(database_url)
    async with empty.read() as uow:
        assert await uow.connection.run_sync(current_revision) is None
    await empty.close()


async def test_a_newer_schema_is_refused(db: Database) -> None:
    async with db.write() as uow:
        await uow.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        await uow.commit()
    with pytest.raises(StoreError, match="newer"):
        await db.migrate()


async def test_a_migration_that_breaks_a_reference_is_rolled_back(tmp_path: Path) -> None:
    path = tmp_path / "halflight.db"
    db = await Database.open(f"sqlite+aiosqlite:///{path}")
    await db.migrate()
    async with db.write() as uow:
        await uow.connection.run_sync(to_the_revision_before)
        before = await uow.connection.run_sync(current_revision)
        await uow.commit()
    with sqlite3.connect(path) as connection:  # sqlite3 itself does not check references
        connection.execute("INSERT INTO gallery_log VALUES ('nowhere', 1, 1, 'add')")
    connection.close()
    with pytest.raises(StoreError, match="reference"):
        await db.migrate()
    async with db.read() as uow:
        assert await uow.connection.run_sync(current_revision) == before
    await db.close()


def to_the_revision_before(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.downgrade(config, "-1")


async def test_a_missing_database_is_an_error_without_the_password(tmp_path: Path) -> None:
    nowhere = f"postgresql+psycopg://halflight:a-password@127.0.0.1:{free_port()}/none"
    for url in (nowhere, f"sqlite+aiosqlite:///{tmp_path}/none/halflight.db", "nonsense://x", "nonsense"):
        with pytest.raises(StoreError) as caught:
            await Database.open(url)
        assert "a-password" not in str(caught.value)
