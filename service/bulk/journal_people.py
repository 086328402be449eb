"""Whom a journal names: the ids of their keys, and who was erased since the run began."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from service.bulk.journal_file import JournalFile, in_turn


@dataclass(frozen=True, slots=True)
class Promise:
    """Of an enrolment that makes a subject: the id of its key, and its name in the audit log."""

    key_id: str
    audit_name: str


class PeopleInJournal(JournalFile):
    """A journal's subjects. An erasure knows them by the keys that it shredded."""

    @in_turn
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

    @in_turn
    def promise(self, subject_id: str, promise: Promise) -> None:
        """Notes what a subject gets if its enrolment, which begins now, is committed.

        An erasure that comes before `note` finds the subject by the key; the audit log says whether one came
        that this journal was not told of. Raises OSError.
        """
        row = (subject_id, promise.key_id, promise.audit_name)
        self._write("INSERT OR REPLACE INTO promised VALUES (?, ?, ?)", [row])
        self._commit()

    @in_turn
    def promised(self) -> dict[str, Promise]:
        """The promises that were neither kept nor withdrawn, by subject."""
        rows = self._db.execute("SELECT subject, key_id, audit_name FROM promised").fetchall()
        return {subject: Promise(key_id, name) for subject, key_id, name in rows}

    @in_turn
    def withdraw(self, subject_id: str) -> None:
        """Takes a promise back: the enrolment was refused. Raises OSError."""
        self._write("DELETE FROM promised WHERE subject=?", [(subject_id,)])
        self._commit()

    @in_turn
    def key_id_of(self, subject_id: str) -> str | None:
        """The id of the key that a subject is known to have had."""
        query = "SELECT key_id FROM people WHERE subject=?"
        row = self._db.execute(query, (subject_id,)).fetchone()
        return None if row is None else str(row[0])

    @in_turn
    def unknown_people(self, limit: int, after: str = "") -> dict[str, bool]:
        """Ids of subjects that it names, in their order, whose keys it does not know, and whether they were
        enrolled then."""
        query = (
            "SELECT subject, max(enrolled) FROM named WHERE subject > ? AND subject NOT IN"
            " (SELECT subject FROM people) GROUP BY subject ORDER BY subject LIMIT ?"
        )
        return {row[0]: bool(row[1]) for row in self._db.execute(query, (after, limit)).fetchall()}

    @in_turn
    def key_ids(self) -> set[str]:
        return {row[0] for row in self._db.execute("SELECT key_id FROM people").fetchall()}

    @in_turn
    def is_gone(self, subject_id: str) -> bool:
        """Whether the subject was erased since the run began."""
        mark = (self._mark(subject_id),)
        return self._db.execute("SELECT 1 FROM gone WHERE mark=?", mark).fetchone() is not None

    @in_turn
    def forget(self, key_ids: Collection[str]) -> list[str]:
        """Erases what names the subjects of these keys, and returns their ids. Raises OSError."""
        query = "SELECT subject, key_id FROM people UNION SELECT subject, key_id FROM promised"
        found = self._db.execute(query).fetchall()
        return self.forget_people(sorted({subject for subject, key_id in found if key_id in key_ids}))

    @in_turn
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
