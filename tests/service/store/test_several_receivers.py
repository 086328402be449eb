"""Events that wait when the schema learns of several receivers, and when it forgets them again."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, create_engine, text

from service.store.columns import metadata
from service.store.database import Database

MIGRATION = import_module("service.store.migrations.versions.0013_several_receivers")
AT = "2026-11-29 12:00:00"
COLUMNS = "event_id, at, key_id, master_id, wrapped, body, attempts, due_at, last_error"
BLOBS = {"sqlite": "x'00'", "postgresql": r"'\x00'::bytea"}


def goes_both_ways(connection: Connection) -> None:
    blob = BLOBS[connection.dialect.name]

    def run(statement: str) -> list[tuple[object, ...]]:
        found = connection.execute(text(statement))
        return [tuple(row) for row in found] if found.returns_rows else []

    with Operations.context(MigrationContext.configure(connection)):
        MIGRATION.downgrade()
        for number, due in (("1", f"'{AT}'"), ("2", "NULL")):
            values = f"'{number}', '{AT}', 'k', 'm', {blob}, {blob}, 3, {due}, 'status 500'"
            run(f"INSERT INTO webhook_outbox ({COLUMNS}) VALUES ({values})")  # noqa: S608 - constants
        MIGRATION.upgrade()
        assert run(
            "SELECT event_id, receiver, attempts, CASE WHEN due_at IS NULL THEN 'dead' ELSE 'due' END,"
            " last_error FROM outbox_deliveries ORDER BY event_id"
        ) == [
            ("1", "webhook", 3, "due", "status 500"),
            ("2", "webhook", 3, "dead", "status 500"),
        ]
        run("UPDATE outbox_deliveries SET receiver = 'mqtt' WHERE event_id = '1'")
        MIGRATION.downgrade()
        assert run("SELECT event_id, attempts, due_at FROM webhook_outbox") == [("2", 3, None)]


async def test_events_that_wait_are_those_of_the_first_webhook(db: Database, tmp_path: Path) -> None:
    if db.dialect == "sqlite":
        # As `Database.migrate` does it, without the check of references: a table that is made anew would
        # take with it what refers to it.
        engine = create_engine(f"sqlite:///{tmp_path / 'halflight.db'}")
        with engine.begin() as connection:
            metadata.create_all(connection)
            goes_both_ways(connection)
        engine.dispose()
        return
    async with db.write() as uow:
        await uow.connection.run_sync(goes_both_ways)
