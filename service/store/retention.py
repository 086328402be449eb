"""Stores what retention knows of the time, and asks the database for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.tables import audit_log, retention_clock
from service.store.upsert import upsert

CLOCK = 1


@dataclass(frozen=True, slots=True)
class ClockMark:
    """When retention last ran. `doubted_since`: the time at which it first doubted the clock, or None."""

    seen_at: datetime
    doubted_since: datetime | None = None


class RetentionClock:
    """All SQL about the clock of retention."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def now(self) -> datetime:
        """Returns the time of the database: the server's, or that of the machine where SQLite runs."""
        if self._connection.dialect.name == "postgresql":
            moment: datetime = (await self._connection.execute(select(func.now()))).scalar_one()
            return moment.astimezone(UTC)
        query = select(func.strftime("%Y-%m-%d %H:%M:%f", "now"))
        text = (await self._connection.execute(query)).scalar_one()
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    async def mark(self) -> ClockMark | None:
        """Returns the last mark; in a database without one, the time of its newest audit entry."""
        query = select(retention_clock.c.seen_at, retention_clock.c.doubted_since)
        if (row := (await self._connection.execute(query)).first()) is not None:
            return ClockMark(*row)
        newest = (await self._connection.execute(select(func.max(audit_log.c.at)))).scalar_one()
        return None if newest is None else ClockMark(newest)

    async def matches_since(self) -> datetime | None:
        """Returns the time since which last matches are noted; None before the first pass."""
        query = select(retention_clock.c.matches_since)
        return (await self._connection.execute(query)).scalar_one_or_none()

    async def begin_matches(self, now: datetime) -> None:
        """Notes that last matches are known from now on, once; `set_mark` was called before."""
        begun = update(retention_clock).where(retention_clock.c.matches_since.is_(None))
        await self._connection.execute(begun.values(matches_since=now))

    async def set_mark(self, mark: ClockMark) -> None:
        values = {"seen_at": mark.seen_at, "doubted_since": mark.doubted_since}
        inserted = upsert(self._connection, retention_clock).values(clock_id=CLOCK, **values)
        await self._connection.execute(
            inserted.on_conflict_do_update(index_elements=["clock_id"], set_=values)
        )
