"""Runs Alembic's migrations on an open connection."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from service.store.errors import StoreError
from service.store.revisions import MIGRATIONS


def upgrade(connection: Connection) -> None:
    """Migrates to the newest revision, within the open transaction. Raises StoreError."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError("the database was made by a newer Halflight: start that one") from error
