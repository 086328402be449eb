"""Which revision of the schema a database has, and which is the newest; neither needs Alembic."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sqlalchemy import Connection, inspect, text

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
# Alembic's own table, with the revision of the schema in its only row.
VERSION_TABLE = "alembic_version"


@cache
def newest_revision() -> str:
    """The newest revision that this release knows: its file's name begins with it."""
    return max(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def current_revision(connection: Connection) -> str | None:
    """The revision of the database; None if it has no schema yet, or more than one revision."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars().all()  # noqa: S608
    return str(found[0]) if len(found) == 1 else None
