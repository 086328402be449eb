"""Opens sealed templates from threads, for galleries that another store searches.

Every method blocks and raises StoreError if the database fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, create_engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from service.store.errors import StoreError
from service.store.gallery_log import from_bytes
from service.store.opening import TEMPLATE_ROWS, TemplateOpener
from service.store.portions import portions
from service.store.subject_keys import Unsealed
from service.store.tables import templates

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]
Failed = Callable[[SQLAlchemyError], StoreError]
CONNECTIONS = 8
ROWS_AT_ONCE = 2000


class TemplateReader:
    """The templates of one PostgreSQL database, on connections of their own."""

    def __init__(self, url: str, unsealed: Unsealed, failed: Failed) -> None:
        self._unsealed, self._failed = unsealed, failed
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
    def opening(self, space_id: str, dimension: int) -> Iterator[Opening]:
        """The templates of a space as they are at one moment."""
        with self._connected("REPEATABLE READ") as connection:
            yield Opening(connection, space_id, dimension, self._unsealed)

    @contextmanager
    def _connected(self, isolation: str = "READ COMMITTED") -> Iterator[Connection]:
        try:
            with self._engine.execution_options(isolation_level=isolation).connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._failed(error) from error


class Opening:
    """The templates of one space at one moment."""

    def __init__(self, connection: Connection, space_id: str, dimension: int, unsealed: Unsealed) -> None:
        self._connection, self._space_id, self._dimension = connection, space_id, dimension
        self._opener = TemplateOpener(unsealed, space_id)
        self._vectors: dict[int, Floats] = {}

    def templates(self, ids: Ids) -> tuple[Ids, Floats]:
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

    def count(self) -> int:
        """How many templates the space has."""
        query = select(func.count()).where(templates.c.space_id == self._space_id)
        return int(self._connection.execute(query).scalar_one())

    def every(self) -> Iterator[tuple[Ids, Floats]]:
        """All templates that open, in order of their ids: ids and vectors float32 [n, d] at a time."""
        query = TEMPLATE_ROWS.where(templates.c.space_id == self._space_id)
        query, after = query.order_by(templates.c.template_id).limit(ROWS_AT_ONCE), None
        while True:
            part = query if after is None else query.where(templates.c.template_id > after)
            rows = self._connection.execute(part).all()
            if not rows:
                return
            after = int(rows[-1][0])
            opened = self._opener.open_all(rows)
            vectors = [from_bytes(data, self._dimension) for _, data in opened]
            if opened:
                yield np.array([template_id for template_id, _ in opened], np.int64), np.stack(vectors)
