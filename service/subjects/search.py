"""Searches subjects: what the database can compare there; ids, names and metadata over opened values.

The order of pages says nothing, since ids lie sealed; but it stays, and a page goes on after a place in it,
so that subjects who come or go meanwhile neither shift nor repeat others. Each page is in order of its ids.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from service.store.database import Database
from service.store.records import SubjectRecord, SubjectSelection
from service.subjects.names import fold, fold_query

ROWS_AT_ONCE = 1000
# Opened subjects that one request looks at; the page then ends early, and its cursor goes on.
MAX_OPENED = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectQuery:
    """What subjects are wanted; they must fit all that is given.

    `id_prefix`: how the id begins. `name`: part of the display name, without case and accents.
    `metadata_key`: a key of the metadata's top level; `metadata_value`: its value, as text or in JSON.
    """

    selection: SubjectSelection = field(default_factory=SubjectSelection)
    id_prefix: str = ""
    name: str | None = None
    metadata_key: str | None = None
    metadata_value: str | None = None

    @property
    def opens(self) -> bool:
        """Whether subjects must be opened to tell."""
        return bool(self.id_prefix) or self.name is not None or self.metadata_key is not None

    def digest(self) -> str:
        """Eight letters that tell this query from others, so that no cursor serves another one."""
        content = json.dumps(asdict(self), sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:8]

    def fits(self, record: SubjectRecord) -> bool:
        """Whether the opened values of a subject fit."""
        if not record.subject_id.startswith(self.id_prefix):
            return False
        if self.name is not None and fold_query(self.name) not in fold(record.display_name or ""):
            return False
        if self.metadata_key is None:
            return True
        if self.metadata_key not in record.metadata:
            return False
        return self.metadata_value is None or _equals(record.metadata[self.metadata_key], self.metadata_value)


@dataclass(frozen=True, slots=True)
class SubjectPage:
    """Subjects that fit, by id. `next_after`: the place after which the next page begins, if any."""

    subjects: tuple[SubjectRecord, ...]
    next_after: str | None

    @classmethod
    def of(cls, found: list[SubjectRecord], next_after: str | None) -> SubjectPage:
        """Sorts what was found."""
        return cls(tuple(sorted(found, key=lambda one: one.subject_id)), next_after)


async def search(db: Database, query: SubjectQuery, after: str | None, limit: int) -> SubjectPage:
    """Up to `limit` subjects after this place. Raises StoreError.

    A page may be short, or empty, and still have a next one: see `MAX_OPENED`.
    """
    found: list[SubjectRecord] = []
    opened, rows = 0, ROWS_AT_ONCE if query.opens else limit + 1
    while True:
        async with db.read() as uow:
            chunk = await uow.subjects.page(after, rows, query.selection)
        for record in chunk:
            if query.fits(record):
                if len(found) == limit:
                    return SubjectPage.of(found, found[-1].place)
                found.append(record)
        if len(chunk) < rows:
            return SubjectPage.of(found, None)
        after, opened = chunk[-1].place, opened + len(chunk)
        if opened >= MAX_OPENED:
            return SubjectPage.of(found, after)


def _equals(value: Any, text: str) -> bool:
    """Whether a value of the metadata is this text, or what the text says in JSON."""
    if isinstance(value, str):
        return value == text
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return False
    # In Python, unlike in JSON, true equals 1.
    return isinstance(given, bool) == isinstance(value, bool) and bool(given == value)
