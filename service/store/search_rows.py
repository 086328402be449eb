"""Stores search vectors: what pgvector searches, one row for each template, in the template's transaction.

A row is the template under the secret transform of its space, rounded to half precision. It says who may be
near a probe; what a template scores is told by the sealed template alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.sealing.transform import Halves, OrthogonalTransform
from service.store.gallery_log import from_bytes
from service.store.opening import TEMPLATE_ROWS, TemplateOpener
from service.store.portions import portions
from service.store.search_schema import TABLE, drop_table
from service.store.subject_ids import SubjectIds
from service.store.subject_keys import Unsealed
from service.store.tables import templates

ROWS_AT_ONCE = 500
# Of templates that are being erased just now none is locked, so nobody waits for another here.
PUT = f"""
WITH alive AS (
    SELECT template_id FROM templates WHERE template_id = ANY(CAST(:ids AS BIGINT[])) AND space_id = :space
    ORDER BY template_id FOR KEY SHARE SKIP LOCKED
)
INSERT INTO {TABLE} (template_id, space_id, vector)
SELECT given.id, :space, CAST(given.vector AS HALFVEC)
FROM unnest(CAST(:ids AS BIGINT[]), CAST(:vectors AS TEXT[])) AS given (id, vector)
JOIN alive ON alive.template_id = given.id
ON CONFLICT (template_id) DO UPDATE SET vector = excluded.vector
"""  # noqa: S608 - the table's name is ours
_UNSEARCHED = f"NOT EXISTS (SELECT 1 FROM {TABLE} s WHERE s.template_id = templates.template_id)"  # noqa: S608
_HEAD = "COALESCE((SELECT max(seq) FROM gallery_log WHERE space_id = :space), 0)"
_COUNTED = f"SELECT {_HEAD}, (SELECT count(*) FROM {TABLE} WHERE space_id = :space)"  # noqa: S608
_TAIL = f"""
SELECT COALESCE(max(l.seq), :after),
    count(*) FILTER (WHERE l.op = 'add'), count(*) FILTER (WHERE l.op = 'remove'),
    array_remove(array_agg(CASE WHEN l.op = 'add' AND s.template_id IS NULL THEN t.template_id END), NULL)
FROM gallery_log l
LEFT JOIN templates t ON t.template_id = l.template_id
LEFT JOIN {TABLE} s ON s.template_id = l.template_id
WHERE l.space_id = :space AND l.seq > :after
"""  # noqa: S608
_LEFT = f"""
SELECT count(*) FILTER (WHERE s.template_id = ANY(CAST(:ids AS BIGINT[]))),
    count(*) FILTER (WHERE t.template_id IS NULL AND s.template_id != ALL(CAST(:ids AS BIGINT[])))
FROM {TABLE} s LEFT JOIN templates t ON t.template_id = s.template_id
"""  # noqa: S608
# A number of its own: a snapshot tells only which was the last to end.
_NEWEST = "SELECT CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT)"
_OLDEST = "SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT)"


@dataclass(frozen=True, slots=True)
class Tail:
    """What the log says since a sequence number. `missing`: templates without a search vector."""

    seq: int
    added: int
    removed: int
    missing: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """Ids int64 [n] and vectors float32 [n, d] of templates. `last`: the last id that was looked at."""

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    last: int | None = None


def written(rows: Halves) -> list[str]:
    """Rows as pgvector reads them."""
    # Half precision has fewer than six significant digits, so nothing is lost.
    return ["[" + ",".join(map("{:.6g}".format, row)) + "]" for row in rows.astype(np.float32).tolist()]


class SearchRows:
    """All SQL about search vectors in a unit of work. Stores nothing in a database without the table."""

    def __init__(self, connection: AsyncConnection, ids: SubjectIds, unsealed: Unsealed) -> None:
        self._connection, self._ids, self._unsealed = connection, ids, unsealed

    async def transform(self, space_id: str, dimension: int) -> OrthogonalTransform:
        """The secret transform of a space. Raises StoreError."""
        known = self._unsealed.transforms
        if space_id not in known:
            known[space_id] = OrthogonalTransform((await self._ids.key()).index_key(space_id), dimension)
        return known[space_id]

    async def collection(self, space_id: str) -> str:
        """The name of a space's collection in Milvus, which tells nothing of it. Raises StoreError."""
        return (await self._ids.key()).collection(space_id)

    @property
    def kept(self) -> bool:
        """Whether templates of this database have search vectors."""
        return self._unsealed.searched

    async def stored_bytes(self, space_id: str, vector: NDArray[np.float32]) -> bytes:
        """The search vector of a template [d] as pages and the journal of PostgreSQL hold it."""
        transform = await self.transform(space_id, len(vector))
        row: bytes = transform.halves(vector[None])[0].tobytes()
        return row

    async def add(self, space_id: str, vectors: Mapping[int, NDArray[np.float32]]) -> None:
        """Stores the search vectors of new templates, float32 [d] each by its template's id.

        Raises StoreError if Milvus fails.
        """
        if not vectors or not (self.kept or self._unsealed.outside):
            return
        rows = np.stack(list(vectors.values()))
        transform = await self.transform(space_id, rows.shape[1])
        if self._unsealed.outside is not None:
            # Before the commit: who is enrolled is found by every replica, and a row without its template
            # opens nothing.
            put = self._unsealed.outside.put_ahead
            name = await self.collection(space_id)
            await asyncio.to_thread(put, name, np.array(list(vectors), np.int64), transform.singles(rows))
            return
        given = {"space": space_id, "ids": list(vectors), "vectors": written(transform.halves(rows))}
        await self._connection.execute(text(PUT), given)

    async def counted(self, space_id: str) -> tuple[int, int]:
        """The head of the log and the number of search vectors, at one moment."""
        seq, count = (await self._connection.execute(text(_COUNTED), {"space": space_id})).one()
        return int(seq), int(count)

    async def tail(self, space_id: str, after_seq: int) -> Tail:
        """What was added and removed after `after_seq`."""
        row = (await self._connection.execute(text(_TAIL), {"space": space_id, "after": after_seq})).one()
        return Tail(int(row[0]), int(row[1]), int(row[2]), tuple(row[3] or ()))

    async def missing(self, space_id: str, dimension: int, after: int | None) -> Opened:
        """Opens some templates after the id `after` that have no search vector; `last` is None at the end."""
        query = TEMPLATE_ROWS.where(templates.c.space_id == space_id, text(_UNSEARCHED))
        if after is not None:
            query = query.where(templates.c.template_id > after)
        query = query.order_by(templates.c.template_id).limit(ROWS_AT_ONCE)
        rows = (await self._connection.execute(query)).all()
        return self._opened(space_id, dimension, rows)

    async def open(self, space_id: str, dimension: int, template_ids: Sequence[int]) -> Opened:
        """Opens these templates; leaves out rows that are gone, and those that do not open."""
        rows: list[Any] = []
        for chosen in portions(template_ids):
            query = TEMPLATE_ROWS.where(templates.c.template_id.in_(chosen))
            rows += (await self._connection.execute(query)).all()
        return self._opened(space_id, dimension, rows)

    async def refuse_sealed(self, space_id: str, after: int) -> int | None:
        """Opens some templates after the id `after`, refuses those that do not open, and returns the last id;
        None at the end. The embedded gallery does that when it loads."""
        query = TEMPLATE_ROWS.where(templates.c.space_id == space_id, templates.c.template_id > after)
        query = query.order_by(templates.c.template_id).limit(ROWS_AT_ONCE)
        rows = (await self._connection.execute(query)).all()
        TemplateOpener(self._unsealed, space_id).open_all(rows)
        return int(rows[-1][0]) if rows else None

    async def left_of(self, template_ids: Sequence[int]) -> tuple[int, int]:
        """The number of search vectors that these templates have, and of further ones without a template."""
        row = (await self._connection.execute(text(_LEFT), {"ids": list(template_ids)})).one()
        return int(row[0]), int(row[1])

    async def newest_transaction(self) -> int:
        """The number that PostgreSQL gives this transaction: others that run and have written have smaller
        ones."""
        return int((await self._connection.execute(text(_NEWEST))).scalar_one())

    async def all_ended_before(self, number: int) -> bool:
        """Whether every transaction with a smaller number has ended."""
        return int((await self._connection.execute(text(_OLDEST))).scalar_one()) >= number

    async def erase_all(self) -> None:
        """Erases every search vector with its table."""
        await drop_table(self._connection)

    def _opened(self, space_id: str, dimension: int, rows: Sequence[Any]) -> Opened:
        opened = TemplateOpener(self._unsealed, space_id).open_all(rows)
        vectors = np.zeros((len(opened), dimension), np.float32)
        for place, (_, data) in enumerate(opened):
            vectors[place] = from_bytes(data, dimension)
        ids = np.array([template_id for template_id, _ in opened], np.int64)
        return Opened(ids, vectors, int(rows[-1][0]) if rows else None)
