"""Stores which spaces need a backfill, and the lease of the one process that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.tables import backfills
from service.store.upsert import upsert


class Backfills:
    """All SQL about backfills."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def request(self, space_id: str, report: Mapping[str, Any]) -> None:
        """Requests a backfill of the space; a repeated request changes nothing but the report."""
        values = {
            "space_id": space_id,
            "wanted": True,
            "report": dict(report),
            "updated_at": datetime.now(UTC),
        }
        inserted = upsert(self._connection, backfills).values(values)
        await self._connection.execute(
            inserted.on_conflict_do_update(
                index_elements=["space_id"],
                set_={name: values[name] for name in ("wanted", "report", "updated_at")},
            )
        )

    async def unclaimed(self) -> list[str]:
        """Returns the requested spaces that no running lease covers."""
        query = (
            select(backfills.c.space_id)
            .where(backfills.c.wanted.is_(True), _free(datetime.now(UTC)))
            .order_by(backfills.c.space_id)
        )
        return [row[0] for row in await self._connection.execute(query)]

    async def claim(self, space_id: str, owner: str, lease_s: float) -> bool:
        """Takes the lease; returns false if another lease runs or nobody requests the backfill."""
        now = datetime.now(UTC)
        claimed = (
            update(backfills)
            .where(backfills.c.space_id == space_id, backfills.c.wanted.is_(True), _free(now, owner))
            .values(lease_owner=owner, lease_until=now + timedelta(seconds=lease_s))
        )
        return (await self._connection.execute(claimed)).rowcount == 1

    async def renew(self, space_id: str, owner: str, lease_s: float, report: Mapping[str, Any]) -> bool:
        """Extends the lease and stores the report; returns false if another owner has the lease."""
        now = datetime.now(UTC)
        renewed = (
            update(backfills)
            .where(backfills.c.space_id == space_id, backfills.c.lease_owner == owner)
            .values(lease_until=now + timedelta(seconds=lease_s), report=dict(report), updated_at=now)
        )
        return (await self._connection.execute(renewed)).rowcount == 1

    async def release(self, space_id: str, owner: str) -> None:
        """Releases the lease of an unfinished backfill, so that the next process continues it."""
        released = (
            update(backfills)
            .where(backfills.c.space_id == space_id, backfills.c.lease_owner == owner)
            .values(lease_owner=None, lease_until=None)
        )
        await self._connection.execute(released)

    async def finish(self, space_id: str, report: Mapping[str, Any]) -> None:
        """Ends the request and the lease, whatever the outcome."""
        finished = (
            update(backfills)
            .where(backfills.c.space_id == space_id)
            .values(
                wanted=False,
                lease_owner=None,
                lease_until=None,
                report=dict(report),
                updated_at=datetime.now(UTC),
            )
        )
        await self._connection.execute(finished)

    async def reports(self) -> dict[str, tuple[bool, dict[str, Any]]]:
        """Maps each space ever requested to whether the request is open and to its last report."""
        query = select(backfills.c.space_id, backfills.c.wanted, backfills.c.report)
        return {
            space_id: (wanted, report) for space_id, wanted, report in await self._connection.execute(query)
        }


def _free(now: datetime, owner: str | None = None) -> Any:
    free = or_(backfills.c.lease_until.is_(None), backfills.c.lease_until < now)
    return free if owner is None else or_(free, backfills.c.lease_owner == owner)
