"""Takes advisory locks of PostgreSQL. SQLite has one writer and needs none."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection


async def advisory_lock(connection: AsyncConnection, number: int, *, shared: bool = False) -> None:
    """Takes a lock until the transaction ends. Each number stands in one file of the store."""
    if connection.dialect.name == "postgresql":
        take = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
        await connection.execute(select(take(number)))
