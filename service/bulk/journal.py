"""Keeps the outcomes of a bulk enrolment on the disk: what a killed run goes on from, and the report.

A photo is known by its name, its subject and the digest of its bytes. The file holds ids of subjects and
small pictures of refused photos; it is readable by its owner alone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from service.bulk.types import Conflict, ConflictKind, Outcome

JOURNAL = "progress.sqlite"
# A kill loses no more than what the service answers once more from its own memory.
COMMIT_EVERY = 16
SCHEMA = """
CREATE TABLE IF NOT EXISTS run (asked TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outcomes (
    position INTEGER PRIMARY KEY, name TEXT NOT NULL, subject TEXT NOT NULL, digest TEXT, code TEXT,
    detail TEXT NOT NULL, existing INTEGER NOT NULL, conflicts TEXT NOT NULL, picture BLOB,
    UNIQUE (name, subject)
);
"""
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


class Journal:
    """The outcomes of one run. `asked`: what was asked for; a journal of another run is begun anew.

    Raises OSError if the file cannot be written.
    """

    def __init__(self, directory: Path, asked: dict[str, Any]) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path, self._waiting = directory / JOURNAL, 0
        try:
            self._path.touch(mode=0o600)
            # Threads of one run use it in turns.
            self._db = sqlite3.connect(self._path, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(SCHEMA)
            self._begin(json.dumps(asked, sort_keys=True))
        except sqlite3.Error as error:
            raise OSError(None, "the journal of an earlier run cannot be used: remove it") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._commit()
        self._db.close()

    def _begin(self, asked: str) -> None:
        row = self._db.execute("SELECT asked FROM run").fetchone()
        if row != (asked,):
            self._db.execute("DELETE FROM run")
            self._db.execute("DELETE FROM outcomes")
            self._db.execute("INSERT INTO run VALUES (?)", (asked,))
            self._db.commit()

    def known(self, name: str, subject_id: str, digest: str) -> Outcome | None:
        """What became of this photo in an interrupted run."""
        row = self._db.execute(
            f"SELECT {COLUMNS} FROM outcomes WHERE name=? AND subject=? AND digest=?",  # noqa: S608
            (name, subject_id, digest),
        ).fetchone()
        return None if row is None else _outcome(row)

    def add(self, one: Outcome) -> None:
        """Keeps an outcome. Raises OSError if the disk is full."""
        conflicts = [[each.kind.value, each.other, each.score] for each in one.conflicts]
        values = (
            *(one.name, one.subject_id or "", one.digest, one.code, one.detail, one.existing),
            *(json.dumps(conflicts), one.picture),
        )
        try:
            self._db.execute(
                f"INSERT INTO outcomes ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (name, subject)"  # noqa: S608
                " DO UPDATE SET digest=excluded.digest, code=excluded.code, detail=excluded.detail,"
                " existing=excluded.existing, conflicts=excluded.conflicts, picture=excluded.picture",
                values,
            )
        except sqlite3.Error as error:
            raise OSError(None, "the journal cannot be written") from error
        self._waiting += 1
        if self._waiting >= COMMIT_EVERY:
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

    def _commit(self) -> None:
        try:
            self._db.commit()
        except sqlite3.Error as error:
            raise OSError(None, "the journal cannot be written") from error
        self._waiting = 0


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
