"""Keeps the outcomes of a bulk enrolment on the disk: what a killed run goes on from, and the report.

A photo is known by its name, its subject and the digest of its bytes. The file holds ids of subjects and
small pictures of refused photos; it is readable by its owner alone. A job's journal also knows the ids of
the keys of the subjects that it names, by which an erasure finds them: `forget`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from service.bulk.journal_file import JOURNAL, in_turn
from service.bulk.journal_people import PeopleInJournal
from service.bulk.types import Conflict, ConflictKind, Outcome

__all__ = ["JOURNAL", "Journal", "Tally", "people_of"]
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


class Journal(PeopleInJournal):
    """The outcomes of one run, whom they name, and the file of both (`JournalFile` says what it takes)."""

    @in_turn
    def known(self, name: str, subject_id: str, digest: str) -> Outcome | None:
        """What became of this photo in an interrupted run."""
        row = self._db.execute(
            f"SELECT {COLUMNS} FROM outcomes WHERE name=? AND subject=? AND digest=?",  # noqa: S608
            (name, subject_id, digest),
        ).fetchone()
        return None if row is None else _outcome(row)

    @in_turn
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

    @in_turn
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
