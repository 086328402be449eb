"""Backfills as clients see them: the last report of each space, and the job that fills it.

A backfill runs as a job, under the lease of the job (`store/jobs.py`). The column `lease_owner` of this
table holds the id of that job. The column `lease_until` is no longer used: up to release 0.4.2 a
backfill had a lease of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.tables import backfills
from service.store.upsert import upsert


@dataclass(frozen=True, slots=True)
class BackfillRecord:
    """`wanted`: the backfill has not ended. `job_id`: the job that fills the space, or did last."""

    wanted: bool
    job_id: str | None
    report: Mapping[str, Any]


class Backfills:
    """All SQL about backfills."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def request(self, space_id: str, job_id: str) -> None:
        """Marks the space as wanted, to be filled by this job, and empties its report."""
        values: dict[str, Any] = {"wanted": True, "lease_owner": job_id, "lease_until": None}
        values |= {"report": {}, "updated_at": datetime.now(UTC)}
        made = upsert(self._connection, backfills).values(values | {"space_id": space_id})
        await self._connection.execute(made.on_conflict_do_update(index_elements=["space_id"], set_=values))

    async def begin(self, space_id: str, job_id: str) -> bool:
        """Names the job that fills the space now; false if the backfill has ended."""
        return await self._change_wanted(space_id, {"lease_owner": job_id, "lease_until": None})

    async def report(self, space_id: str, job_id: str, report: Mapping[str, Any]) -> bool:
        """Stores how far the job is; false if the backfill has ended."""
        return await self._change_wanted(space_id, {"lease_owner": job_id, "report": dict(report)})

    async def finish(self, space_id: str, report: Mapping[str, Any]) -> None:
        """Ends the backfill, complete or not."""
        values = {"wanted": False, "lease_owner": None, "lease_until": None, "report": dict(report)}
        ended = update(backfills).where(backfills.c.space_id == space_id)
        await self._connection.execute(ended.values(**values, updated_at=datetime.now(UTC)))

    async def get(self, space_id: str) -> BackfillRecord | None:
        return (await self.all()).get(space_id)

    async def all(self) -> dict[str, BackfillRecord]:
        """The record of each space for which a client ever asked for a backfill."""
        columns = (backfills.c.space_id, backfills.c.wanted, backfills.c.lease_owner, backfills.c.report)
        return {
            space_id: BackfillRecord(*row)
            for space_id, *row in await self._connection.execute(select(*columns))
        }

    async def _change_wanted(self, space_id: str, values: Mapping[str, Any]) -> bool:
        changed = (
            update(backfills)
            .where(backfills.c.space_id == space_id, backfills.c.wanted.is_(True))
            .values(**values, updated_at=datetime.now(UTC))
        )
        return (await self._connection.execute(changed)).rowcount == 1
