"""Vacuums the search vectors once some were erased, beside the service.

A deleted row of PostgreSQL stays in its page until a vacuum. It takes the row out of the table, and pgvector
writes zeros over its vector in the HNSW index.
"""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from service.store.search_schema import TABLE

log = structlog.get_logger("halflight.store")

# Another replica may be at it, or hold its rows for a moment.
AGAIN_S = 5.0
CLOSE_S = 60.0
# So often, while a transaction that is older than an erasure still sees what was erased.
TRIES = 24
# Also where few rows went, which PostgreSQL would leave in the index for the next time.
STATEMENT = f"VACUUM (INDEX_CLEANUP ON) {TABLE}"
LEFT = f"SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = to_regclass('{TABLE}')"  # noqa: S608


class Vacuum:
    """Runs one vacuum at a time; what is erased meanwhile goes with the next."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._wanted = self._closing = False
        self._task: asyncio.Task[None] | None = None

    def soon(self) -> None:
        """Begins a vacuum, or another one after the one that runs."""
        self._wanted = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="vacuum")

    async def close(self) -> None:
        """Waits for what has begun, for a minute at most."""
        self._closing = True
        if self._task is not None:
            await asyncio.wait([self._task], timeout=CLOSE_S)
            self._task.cancel()

    async def _run(self) -> None:
        tries = 0
        while self._wanted:
            self._wanted = False
            left, tries = await self._once(), tries + 1
            if left == 0:
                tries = 0
                continue
            if self._closing or tries == TRIES:
                log.warning("erased search vectors wait for the next vacuum", rows=left)
                return
            await asyncio.sleep(AGAIN_S)
            self._wanted = True

    async def _once(self) -> int | None:
        """Vacuums; returns the number of erased rows that are left, None if it failed."""
        try:
            async with self._engine.connect() as connection:
                await connection.execute(text(STATEMENT))
                return int((await connection.execute(text(LEFT))).scalar_one_or_none() or 0)
        except SQLAlchemyError as error:
            log.warning("the vacuum of search vectors failed", kind=type(error).__name__)
            return None
