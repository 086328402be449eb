"""Keeps the outcomes of a bulk enrolment on the disk: what a killed run goes on from, and the report.

A photo is known by its name, its subject and the digest of its bytes. The file holds ids of subjects and
small pictures of refused photos; it is readable by its owner alone. A job's journal also knows the ids of
the keys of the subjects that it names, by which an erasure finds them: `forget`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from service.bulk.types import Conflict, ConflictKind, Outcome

JOURNAL = "progress.sqlite"
# A kill loses no more than what the service answers once more from its own memory.
COMMIT_EVERY = 16
BUSY_S = 60.0
VERSION = 2
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
CREATE TABLE IF NOT EXISTS promised (subject TEXT PRIMARY KEY, key_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS gone (mark BLOB PRIMARY KEY);
"""
TABLES = ("run", "outcomes", "named", "people", "promised", "gone")
COLUMNS = "name, subject, digest, code, detail, existing, conflicts, picture"


@dataclass(frozen=True, slots=True)
class Tally:
    """Numbers of a run. `enrolled` counts the `existing` photos too; `subjects`: of all photos."""

    enrolled: int
    existing: int
    refused: int
    conflicts: int
    subjects: int
    by_code: dict[str, int]


P = ParamSpec("P")
T = TypeVar("T")


def _in_turn(
    method: Callable[Concatenate[Journal, P], T],
) -> Callable[Concatenate[Journal, P], T]:
    """Lets one thread in: a run that is cancelled closes the journal while a thread still writes to it."""

    @wraps(method)
    def alone(self: Journal, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.turn:
            return method(self, *args, **kwargs)

    return alone


class Journal:
    """The outcomes of one run. `asked`: what was asked for; a journal of another run is begun anew. None
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

    @_in_turn
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

    @_in_turn
    def end(self) -> None:
        """Notes that the run has ended. Raises OSError."""
        self._write("UPDATE run SET ended_at=?", [(datetime.now(UTC).isoformat(timespec="seconds"),)])
        self._write("DELETE FROM promised", [()])
        self._commit()

    @_in_turn
    def note(self, keys: Mapping[str, str]) -> None:
        """Notes the ids of the keys of subjects, by the subjects' ids. Raises OSError."""
        known = [
            (subject, key_id)
            for subject, key_id in keys.items()
            if self.key_id_of(subject) != key_id and not self.is_gone(subject)
        ]
        if not known:
            return
        self._write("INSERT OR REPLACE INTO people VALUES (?, ?)", known)
        self._write("DELETE FROM promised WHERE subject=?", [(subject,) for subject, _ in known])
        self._commit()

    @_in_turn
    def promise(self, subject_id: str, key_id: str) -> None:
        """Notes the id of the key that a subject gets if its enrolment, which begins now, is committed.

        An erasure that comes before `note` finds it by that. Raises OSError.
        """
        self._write("INSERT OR REPLACE INTO promised VALUES (?, ?)", [(subject_id, key_id)])
        self._commit()

    @_in_turn
    def withdraw(self, subject_id: str) -> None:
        """Takes a promise back: the enrolment was refused. Raises OSError."""
        self._write("DELETE FROM promised WHERE subject=?", [(subject_id,)])
        self._commit()

    @_in_turn
    def key_id_of(self, subject_id: str) -> str | None:
        """The id of the key that a subject is known to have had."""
        query = "SELECT key_id FROM people WHERE subject=?"
        row = self._db.execute(query, (subject_id,)).fetchone()
        return None if row is None else str(row[0])

    @_in_turn
    def unknown_people(self, limit: int, after: str = "") -> dict[str, bool]:
        """Ids of subjects that it names, in their order, whose keys it does not know, and whether they were
        enrolled then."""
        query = (
            "SELECT subject, max(enrolled) FROM named WHERE subject > ? AND subject NOT IN"
            " (SELECT subject FROM people) GROUP BY subject ORDER BY subject LIMIT ?"
        )
        return {row[0]: bool(row[1]) for row in self._db.execute(query, (after, limit)).fetchall()}

    @_in_turn
    def key_ids(self) -> set[str]:
        return {row[0] for row in self._db.execute("SELECT key_id FROM people").fetchall()}

    @_in_turn
    def is_gone(self, subject_id: str) -> bool:
        """Whether the subject was erased since the run began."""
        mark = (self._mark(subject_id),)
        return self._db.execute("SELECT 1 FROM gone WHERE mark=?", mark).fetchone() is not None

    @_in_turn
    def forget(self, key_ids: Collection[str]) -> list[str]:
        """Erases what names the subjects of these keys, and returns their ids. Raises OSError."""
        query = "SELECT subject, key_id FROM people UNION SELECT subject, key_id FROM promised"
        found = self._db.execute(query).fetchall()
        return self.forget_people(sorted({subject for subject, key_id in found if key_id in key_ids}))

    @_in_turn
    def forget_people(self, subject_ids: Sequence[str]) -> list[str]:
        """Erases what names these subjects, and returns their ids. Raises OSError."""
        if not subject_ids:
            return []
        gone = [(one,) for one in subject_ids]
        self._write("INSERT OR IGNORE INTO gone VALUES (?)", [(self._mark(one),) for one in subject_ids])
        theirs = "position IN (SELECT position FROM named WHERE subject=?)"
        self._write(f"DELETE FROM outcomes WHERE {theirs}", gone)  # noqa: S608
        self._write(f"DELETE FROM named WHERE {theirs}", gone)  # noqa: S608
        for table in ("people", "promised"):
            self._write(f"DELETE FROM {table} WHERE subject=?", gone)  # noqa: S608
        self._commit()
        # The rows stand in the write-ahead log too.
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return list(subject_ids)

    def _mark(self, subject_id: str) -> bytes:
        row = self._db.execute("SELECT salt FROM run").fetchone()
        return hashlib.blake2b(subject_id.encode(), key=b"" if row is None else row[0]).digest()

    @_in_turn
    def known(self, name: str, subject_id: str, digest: str) -> Outcome | None:
        """What became of this photo in an interrupted run."""
        row = self._db.execute(
            f"SELECT {COLUMNS} FROM outcomes WHERE name=? AND subject=? AND digest=?",  # noqa: S608
            (name, subject_id, digest),
        ).fetchone()
        return None if row is None else _outcome(row)

    @_in_turn
    def add(self, one: Outcome) -> None:
        """Keeps an outcome, unless it names a subject that was erased meanwhile. Raises OSError if the disk
        is full."""
        named = people_of(one)
        if any(self.is_gone(each) for each in named):
            return
        conflicts = [[each.kind.value, each.other, each.score] for each in one.conflicts]
        values = (
            *(one.name, one.subject_id or "", one.digest, one.code, one.detail, one.existing),
            *(json.dumps(conflicts), one.picture),
        )
        self._write(
            f"INSERT INTO outcomes ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (name, subject)"  # noqa: S608
            " DO UPDATE SET digest=excluded.digest, code=excluded.code, detail=excluded.detail,"
            " existing=excluded.existing, conflicts=excluded.conflicts, picture=excluded.picture",
            [values],
        )
        place = "SELECT ?, position, ? FROM outcomes WHERE name=? AND subject=?"
        rows = [
            (each, one.code is None or each != one.subject_id, one.name, one.subject_id or "")
            for each in named
        ]
        self._write(f"INSERT INTO named {place}", rows)
        self._waiting += 1
        if self._waiting >= self._commit_every:
            self._commit()

    def outcomes(self, *, refused: bool = False, conflicting: bool = False) -> Iterator[Outcome]:
        """Every outcome, or those refused or in conflict, in the order of the source."""
        which = " AND ".join(
            [*(["code IS NOT NULL"] if refused else []), *(["conflicts <> '[]'"] if conflicting else [])]
        )
        where = f" WHERE {which}" if which else ""
        for row in self._db.execute(f"SELECT {COLUMNS} FROM outcomes{where} ORDER BY position"):  # noqa: S608
            yield _outcome(row)

    def __len__(self) -> int:
        (count,) = self._db.execute("SELECT count(*) FROM outcomes").fetchone()
        return int(count)

    @_in_turn
    def tally(self) -> Tally:
        enrolled, existing, refused, conflicts = self._db.execute(
            "SELECT count(*) FILTER (WHERE code IS NULL), count(*) FILTER (WHERE code IS NULL AND existing),"
            " count(*) FILTER (WHERE code IS NOT NULL), count(*) FILTER (WHERE conflicts <> '[]')"
            " FROM outcomes"
        ).fetchone()
        (subjects,) = self._db.execute(
            "SELECT count(DISTINCT subject) FROM outcomes WHERE subject <> ''"
        ).fetchone()
        by_code = dict(
            self._db.execute(
                "SELECT code, count(*) FROM outcomes WHERE code IS NOT NULL GROUP BY code ORDER BY code"
            ).fetchall()
        )
        return Tally(enrolled, existing, refused, conflicts, subjects, by_code)

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


def people_of(one: Outcome) -> set[str]:
    """Ids of the subjects that an outcome names, the folder of a file that was not sent among them."""
    found = {each.other for each in one.conflicts if each.other is not None}
    return found | {one.name.partition("/")[0] if one.subject_id is None else one.subject_id}


def _outcome(row: tuple[Any, ...]) -> Outcome:
    name, subject, digest, code, detail, existing, conflicts, picture = row
    found = tuple(Conflict(ConflictKind(kind), other, score) for kind, other, score in json.loads(conflicts))
    return Outcome(
        name=name,
        subject_id=subject or None,
        digest=digest,
        code=code,
        detail=detail,
        existing=bool(existing),
        conflicts=found,
        picture=picture,
        kept=True,
    )
