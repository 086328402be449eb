"""Searches the vectors in PostgreSQL (pgvector), from threads: near rows first, then their sealed templates.

Every method blocks and raises StoreError if the database fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, TextClause, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from service.store.errors import StoreError
from service.store.gallery_log import from_bytes
from service.store.opening import TEMPLATE_ROWS, TemplateOpener
from service.store.portions import portions
from service.store.search_rows import PUT, ROWS_AT_ONCE, written
from service.store.search_schema import TABLE, GalleryOptions, drop_index, make_index
from service.store.subject_keys import Unsealed
from service.store.tables import templates

Ids = NDArray[np.int64]
Scores = NDArray[np.float64]
Failed = Callable[[SQLAlchemyError], StoreError]
# PostgreSQL's advisory lock: who makes or drops an index.
INDEX_LOCK = 0x48A24
INDEX_WAIT_S = 0.2
CONNECTIONS = 8
_OF_SPACE = f"FROM {TABLE} WHERE space_id = :space"
_REMOVE = f"DELETE {_OF_SPACE} AND template_id = ANY(:ids)"
_CLEAR, _COUNT = f"DELETE {_OF_SPACE}", f"SELECT count(*) {_OF_SPACE}"


class SearchIndex:
    """The search vectors of one database, on connections of their own."""

    def __init__(self, url: str, options: GalleryOptions, unsealed: Unsealed, failed: Failed) -> None:
        self.options, self._unsealed, self._failed = options, unsealed, failed
        # Compiling a query takes longer than a scan of many rows; a plan made once for every space would
        # not use the index of one.
        self._engine = create_engine(
            url,
            pool_pre_ping=True,
            pool_size=CONNECTIONS,
            max_overflow=0,
            connect_args={"options": "-c jit=off", "prepare_threshold": None},
        )

    def close(self) -> None:
        self._engine.dispose()

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

    @contextmanager
    def _connected(self, isolation: str = "READ COMMITTED") -> Iterator[Connection]:
        try:
            with self._engine.execution_options(isolation_level=isolation).connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._failed(error) from error


class Snapshot:
    """The rows of one space at one moment."""

    def __init__(self, connection: Connection, space_id: str, dimension: int, unsealed: Unsealed) -> None:
        self._connection, self._space_id, self._dimension = connection, space_id, dimension
        self._opener = TemplateOpener(unsealed, space_id)
        self._vectors: dict[int, NDArray[np.float32]] = {}
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

    def templates(self, ids: Ids) -> tuple[Ids, NDArray[np.float32]]:
        """Those of these templates that open: ids and vectors float32 [n, d]."""
        unknown = [one for one in ids.tolist() if one not in self._vectors]
        for chosen in portions(unknown):
            rows = self._connection.execute(TEMPLATE_ROWS.where(templates.c.template_id.in_(chosen))).all()
            for template_id, data in self._opener.open_all(rows):
                self._vectors[template_id] = from_bytes(data, self._dimension)
        opened = [one for one in ids.tolist() if one in self._vectors]
        vectors = np.zeros((len(opened), self._dimension), np.float32)
        for place, one in enumerate(opened):
            vectors[place] = self._vectors[one]
        return np.array(opened, np.int64), vectors

    def _rows(self, statement: TextClause, query: NDArray[np.float16], **given: float) -> tuple[Ids, Scores]:
        asked = {"space": self._space_id, "query": written(query[None])[0], **given}
        rows = self._connection.execute(statement, asked).all()
        return np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.float64)
