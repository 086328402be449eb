"""Searches the vectors in PostgreSQL (pgvector), from threads: near rows first, then their sealed templates.

Every method blocks and raises StoreError if the database fails.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, TextClause, text

from service.store.search_rows import PUT, ROWS_AT_ONCE, written
from service.store.search_schema import TABLE, GalleryOptions, drop_index, make_index
from service.store.subject_keys import Unsealed
from service.store.template_reader import Failed, Opening, TemplateReader

Ids = NDArray[np.int64]
Scores = NDArray[np.float64]
# PostgreSQL's advisory lock: who makes or drops an index.
INDEX_LOCK = 0x48A24
INDEX_WAIT_S = 0.2
_OF_SPACE = f"FROM {TABLE} WHERE space_id = :space"
_REMOVE = f"DELETE {_OF_SPACE} AND template_id = ANY(:ids)"
_CLEAR, _COUNT = f"DELETE {_OF_SPACE}", f"SELECT count(*) {_OF_SPACE}"


class SearchIndex(TemplateReader):
    """The search vectors of one database."""

    def __init__(self, url: str, options: GalleryOptions, unsealed: Unsealed, failed: Failed) -> None:
        super().__init__(url, unsealed, failed)
        self.options = options

    @contextmanager
    def reading(self, space_id: str, dimension: int) -> Iterator[Snapshot]:
        """What the index and the templates hold at one moment."""
        with self._connected("REPEATABLE READ") as connection:
            yield Snapshot(connection, space_id, dimension, self._unsealed)

    def put(self, space_id: str, ids: Sequence[int], rows: NDArray[np.float16]) -> None:
        """Stores rows [n, d] of these templates, as far as they exist in the space; replaces known ones."""
        with self._connected() as connection:
            for start in range(0, len(ids), ROWS_AT_ONCE):
                part = slice(start, start + ROWS_AT_ONCE)
                given = {"space": space_id, "ids": list(ids[part]), "vectors": written(rows[part])}
                connection.execute(text(PUT), given)
            connection.commit()

    def remove(self, space_id: str, ids: Sequence[int]) -> None:
        """Erases the rows of these templates, and leaves the templates."""
        with self._connected() as connection:
            connection.execute(text(_REMOVE), {"space": space_id, "ids": list(ids)})
            connection.commit()

    def clear(self, space_id: str) -> None:
        """Erases the rows of a space."""
        with self._connected() as connection:
            connection.execute(text(_CLEAR), {"space": space_id})
            connection.commit()

    def count(self, space_id: str) -> int:
        with self._connected() as connection:
            return int(connection.execute(text(_COUNT), {"space": space_id}).scalar_one())

    def arrange(self, space_id: str, dimension: int) -> None:
        """Makes the index of a space, or drops it, as the options say; replicas take turns."""
        with self._alone() as connection:
            if self.options.index == "hnsw":
                make_index(connection, space_id, dimension)
            else:
                drop_index(connection, space_id)

    def forget(self, space_id: str) -> None:
        """Erases the index of a space that was deleted."""
        with self._alone() as connection:
            drop_index(connection, space_id)

    @contextmanager
    def _alone(self) -> Iterator[Connection]:
        """A connection outside of transactions that holds the lock of indexes. It waits between tries: an
        index made beside others waits for every statement that runs, also for one that waits for it."""
        with self._connected("AUTOCOMMIT") as connection:
            connection.exec_driver_sql("SET lock_timeout = 0")
            take = text("SELECT pg_try_advisory_lock(:number)")
            while not connection.execute(take, {"number": INDEX_LOCK}).scalar_one():
                time.sleep(INDEX_WAIT_S)
            try:
                yield connection
            finally:
                # The lock and the setting go with the connection.
                connection.invalidate()


class Snapshot(Opening):
    """The rows and the templates of one space at one moment."""

    def __init__(self, connection: Connection, space_id: str, dimension: int, unsealed: Unsealed) -> None:
        super().__init__(connection, space_id, dimension, unsealed)
        place = f"CAST(:query AS HALFVEC({dimension}))"
        score = f"-(vector::HALFVEC({dimension}) <#> {place})"
        rows = f"SELECT template_id, {score} FROM {TABLE} WHERE space_id = :space"  # noqa: S608
        # The index is sorted by the operator, and knows nothing of its negative.
        self._by_index = text(f"{rows} ORDER BY vector::HALFVEC({dimension}) <#> {place} LIMIT :most")
        self._by_all = text(f"{rows} ORDER BY {score} DESC LIMIT :most")
        self._within = text(f"{rows} AND {score} >= :least")

    def near(self, query: NDArray[np.float16], most: int) -> tuple[Ids, Scores]:
        """Up to `most` rows that score high with `query` [d], found by HNSW: ids and these scores."""
        # Without the second one rows that were erased and not yet vacuumed would take the place of others.
        called = "set_config('hnsw.ef_search', :most, true), set_config('hnsw.iterative_scan', :order, true)"
        self._connection.execute(text(f"SELECT {called}"), {"most": str(most), "order": "relaxed_order"})
        return self._rows(self._by_index, query, most=most)

    def nearest(self, query: NDArray[np.float16], most: int) -> tuple[Ids, Scores]:
        """The up to `most` rows that score highest with `query` [d] in half precision, best first."""
        return self._rows(self._by_all, query, most=most)

    def within(self, query: NDArray[np.float16], least: float) -> tuple[Ids, Scores]:
        """Every row that scores `least` or more in half precision."""
        return self._rows(self._within, query, least=least)

    def _rows(self, statement: TextClause, query: NDArray[np.float16], **given: float) -> tuple[Ids, Scores]:
        asked = {"space": self._space_id, "query": written(query[None])[0], **given}
        rows = self._connection.execute(statement, asked).all()
        return np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.float64)
