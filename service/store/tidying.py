"""Removes the remains of deleted rows from the files of SQLite. Every function blocks."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import structlog

from service.store.errors import StoreError

log = structlog.get_logger("halflight.store")

# A reader that holds an old state keeps the journal; what is left there is sealed under a deleted key.
WAIT_S = 0.25
REWRITE_WAIT_S = 60.0


def forget_deleted(file: Path) -> bool:
    """Copies the journal into the database and empties it; false if somebody reads an old state."""
    try:
        connection = sqlite3.connect(file, timeout=WAIT_S, isolation_level=None)
        try:
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.close()
        return not busy
    except sqlite3.Error as error:
        log.warning("the journal keeps sealed bytes for now", cause=type(error).__name__)
        return False


def rewrite(file: Path) -> None:
    """Writes the whole database anew and empties the journal. Raises StoreError."""
    try:
        connection = sqlite3.connect(file, timeout=REWRITE_WAIT_S, isolation_level=None)
        try:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("VACUUM")
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"the database cannot be written anew: {type(error).__name__}") from error
    if busy:
        raise StoreError("another process reads the database, so its journal cannot be emptied")
