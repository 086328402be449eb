"""The file of a journal: one run's tables in SQLite, used by the threads of the run in turns."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

JOURNAL = "progress.sqlite"
# A kill loses no more than what the service answers once more from its own memory.
COMMIT_EVERY = 16
BUSY_S = 60.0
VERSION = 3
# `gone` holds salted digests of erased ids: enough to drop what a photo in work still says of them.
SCHEMA = """
CREATE TABLE IF NOT EXISTS run (asked TEXT NOT NULL, salt BLOB NOT NULL, ended_at TEXT);
CREATE TABLE IF NOT EXISTS outcomes (
    position INTEGER PRIMARY KEY, name TEXT NOT NULL, subject TEXT NOT NULL, digest TEXT, code TEXT,
    detail TEXT NOT NULL, existing INTEGER NOT NULL, conflicts TEXT NOT NULL, picture BLOB,
    UNIQUE (name, subject)
);
CREATE TABLE IF NOT EXISTS named (
    subject TEXT NOT NULL, position INTEGER NOT NULL, enrolled INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS named_subject ON named (subject);
CREATE TABLE IF NOT EXISTS people (subject TEXT PRIMARY KEY, key_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS promised (
    subject TEXT PRIMARY KEY, key_id TEXT NOT NULL, audit_name TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS gone (mark BLOB PRIMARY KEY);
"""
TABLES = ("run", "outcomes", "named", "people", "promised", "gone")

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="JournalFile")


def in_turn(
    method: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], T]:
    """Lets one thread in: a run that is cancelled closes the journal while a thread still writes to it."""

    @wraps(method)
    def alone(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.turn:
            return method(self, *args, **kwargs)

    return alone


class JournalFile:
    """The tables of one run. `asked`: what was asked for; a journal of another run is begun anew. None
    opens one as it is.

    `commit_every`: outcomes that a kill may lose. Raises OSError if the file cannot be written.
    """

    def __init__(
        self, directory: Path, asked: dict[str, Any] | None, *, commit_every: int = COMMIT_EVERY
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.turn = threading.RLock()
        self._path, self._waiting, self._commit_every = directory / JOURNAL, 0, commit_every
        try:
            self._path.touch(mode=0o600)
            # Threads of one run use it in turns.
            self._db = sqlite3.connect(self._path, check_same_thread=False, timeout=BUSY_S)
            self._db.execute("PRAGMA journal_mode=WAL")
            # Zeros instead of deleted rows.
            self._db.execute("PRAGMA secure_delete=ON")
            if self._db.execute("PRAGMA user_version").fetchone() != (VERSION,):
                for table in TABLES:
                    self._db.execute(f"DROP TABLE IF EXISTS {table}")
                self._db.execute(f"PRAGMA user_version={VERSION}")
            self._db.executescript(SCHEMA)
            if asked is not None:
                self._begin(json.dumps(asked, sort_keys=True))
        except sqlite3.Error as error:
            raise OSError(None, "the journal of an earlier run cannot be used: remove it") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    @in_turn
    def close(self) -> None:
        """Raises OSError."""
        self._commit()
        self._db.close()

    def _begin(self, asked: str) -> None:
        row = self._db.execute("SELECT asked FROM run").fetchone()
        if row != (asked,):
            for table in TABLES:
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608
            self._db.execute("INSERT INTO run VALUES (?, ?, NULL)", (asked, os.urandom(16)))
            self._db.commit()

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked for; empty if nothing was."""
        row = self._db.execute("SELECT asked FROM run").fetchone()
        return {} if row is None else dict(json.loads(row[0]))

    @property
    def ended_at(self) -> datetime | None:
        """When the run ended; None while it goes on."""
        row = self._db.execute("SELECT ended_at FROM run").fetchone()
        return None if row is None or row[0] is None else datetime.fromisoformat(row[0])

    @in_turn
    def end(self) -> None:
        """Notes that the run has ended. Raises OSError."""
        self._write("UPDATE run SET ended_at=?", [(datetime.now(UTC).isoformat(timespec="seconds"),)])
        self._write("DELETE FROM promised", [()])
        self._commit()

    def remove(self) -> None:
        """Removes the journal of a run that has ended. Raises OSError."""
        for path in self._path.parent.glob(f"{JOURNAL}*"):
            path.unlink(missing_ok=True)

    def _write(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        try:
            self._db.executemany(statement, rows)
        except sqlite3.Error as error:
            raise OSError(None, "the journal cannot be written") from error

    def _commit(self) -> None:
        try:
            self._db.commit()
        except sqlite3.Error as error:
            raise OSError(None, "the journal cannot be written") from error
        self._waiting = 0
