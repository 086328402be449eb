"""Stores jobs: a durable queue with leases. Every change by a runner requires that it owns the lease."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, delete, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.errors import JobUnfinished
from service.store.job_records import Claim, JobEvent, JobRecord, JobState
from service.store.tables import job_events, jobs

EVENTS_KEPT = 1000
_RECORD = tuple(jobs.c[name] for name in JobRecord.__slots__)
_EVENT = tuple(job_events.c[name] for name in JobEvent.__slots__)


class Jobs:
    """All SQL about jobs."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def _now(self) -> datetime:
        """Reads the clock of the database: replicas on several machines must agree on the end of a lease."""
        if self._connection.dialect.name == "sqlite":
            return datetime.now(UTC)
        now: datetime = (await self._connection.execute(select(func.clock_timestamp()))).scalar_one()
        return now.astimezone(UTC)

    async def add(self, job_id: str, kind: str, request: Mapping[str, Any], *, sole: str | None) -> None:
        """Queues a job. Raises JobUnfinished if one with the same `sole` waits or runs."""
        values = {
            "job_id": job_id,
            "kind": kind,
            "request": dict(request),
            "state": "queued",
            "metrics": {},
            "sole": sole,
            "created_at": await self._now(),
        }
        try:
            await self._connection.execute(insert(jobs).values(values))
        except IntegrityError as error:
            raise JobUnfinished(f"a job of kind {kind} is not finished") from error
        await self._update_with_event(job_id, jobs.c.state == "queued", {"message": "waits for its turn"})

    async def get(self, job_id: str) -> JobRecord | None:
        row = (await self._connection.execute(select(*_RECORD).where(jobs.c.job_id == job_id))).first()
        return JobRecord(*row) if row else None

    async def page(self, before: str | None, limit: int) -> list[JobRecord]:
        """Returns up to `limit` jobs, newest first: ids begin with the time of creation."""
        query = select(*_RECORD).order_by(jobs.c.job_id.desc()).limit(limit)
        if before is not None:
            query = query.where(jobs.c.job_id < before)
        return [JobRecord(*row) for row in await self._connection.execute(query)]

    async def running(self) -> list[JobRecord]:
        query = select(*_RECORD).where(jobs.c.state == "running")
        return [JobRecord(*row) for row in await self._connection.execute(query)]

    async def events(self, job_id: str, after: int, limit: int) -> list[JobEvent]:
        """Returns up to `limit` events after number `after`, oldest first."""
        query = (
            select(*_EVENT)
            .where(job_events.c.job_id == job_id, job_events.c.seq > after)
            .order_by(job_events.c.seq)
            .limit(limit)
        )
        return [JobEvent(*row) for row in await self._connection.execute(query)]

    async def any_claimable(self, kinds: Sequence[str]) -> bool:
        """Returns whether `claim` may find a job of these kinds."""
        claimable = self._claimable(await self._now())
        query = select(jobs.c.job_id).where(jobs.c.kind.in_(kinds), claimable).limit(1)
        return (await self._connection.execute(query)).first() is not None

    @staticmethod
    def _claimable(now: datetime) -> ColumnElement[bool]:
        """Matches jobs that nobody holds: queued ones, and running ones whose lease has expired."""
        expired = and_(jobs.c.state == "running", jobs.c.lease_until <= now)
        return or_(jobs.c.state == "queued", expired)

    async def claim(
        self, owner: str, *, kinds: Sequence[str], slot: str | None, lease_s: float
    ) -> Claim | None:
        """Claims one job that nobody holds: first one whose lease has expired, then the oldest queued one.

        `slot`: the resource that the job occupies; at most one running job has it, across all runners.
        Returns None if there is no such job.
        """
        now = await self._now()
        claimable = self._claimable(now)
        query = select(jobs.c.job_id, jobs.c.lease_owner).where(jobs.c.kind.in_(kinds), claimable)
        if slot is not None:
            other = jobs.alias("other")
            busy = exists().where(
                other.c.state == "running", other.c.slot == slot, other.c.job_id != jobs.c.job_id
            )
            query = query.where(~busy)
        first = query.order_by(jobs.c.state.desc(), jobs.c.job_id).limit(1)
        selected = (await self._connection.execute(first.with_for_update(skip_locked=True, of=jobs))).first()
        if selected is None:
            return None
        job_id, before = selected
        values = {
            "state": "running",
            "lease_owner": owner,
            "lease_until": now + timedelta(seconds=lease_s),
            "heartbeat_at": now,
            "slot": slot,
            "started_at": func.coalesce(jobs.c.started_at, now),
        }
        taken = update(jobs).where(jobs.c.job_id == job_id, claimable).values(values).returning(*_RECORD)
        try:
            row = (await self._connection.execute(taken)).first()
        except IntegrityError:
            # Another runner took the slot between the two statements.
            await self._connection.rollback()
            return None
        return Claim(JobRecord(*row), before is not None) if row else None

    async def heartbeat(self, job_id: str, owner: str, *, lease_s: float) -> bool:
        """Extends the lease; returns false if another runner has it or the job has ended."""
        now = await self._now()
        values = {"lease_until": now + timedelta(seconds=lease_s), "heartbeat_at": now}
        return await self._update_owned(job_id, owner, values)

    async def cancel_requested(self, job_id: str) -> bool:
        query = select(jobs.c.cancel_requested).where(jobs.c.job_id == job_id)
        return bool((await self._connection.execute(query)).scalar_one_or_none())

    async def release(self, job_id: str, owner: str) -> bool:
        """Releases a running job, so that the next runner continues it; it does not count as interrupted."""
        return await self._update_owned(
            job_id, owner, {"lease_until": await self._now(), "lease_owner": None}
        )

    async def expire(self, job_id: str, owner: str) -> bool:
        """Ends the lease of a runner that is known to be dead."""
        return await self._update_owned(job_id, owner, {"lease_until": await self._now()})

    async def begin_attempt(self, job_id: str, owner: str) -> int | None:
        """Returns how many attempts in a row made no progress, with this one; None if the lease is lost."""
        progressed = jobs.c.progress > jobs.c.attempt_progress
        begun = (
            update(jobs)
            .where(jobs.c.job_id == job_id, jobs.c.lease_owner == owner, jobs.c.state == "running")
            .values(
                attempts=case((progressed, 1), else_=jobs.c.attempts + 1), attempt_progress=jobs.c.progress
            )
            .returning(jobs.c.attempts)
        )
        count = (await self._connection.execute(begun)).scalar_one_or_none()
        return None if count is None else int(count)

    async def set_process(self, job_id: str, owner: str, process: Mapping[str, Any] | None) -> bool:
        return await self._update_owned(
            job_id, owner, {"process": None if process is None else dict(process)}
        )

    async def report(self, job_id: str, owner: str, **changed: Any) -> bool:
        """Changes the job and logs the event; returns false if the lease is lost.

        `changed`: columns such as progress, stage, message and metrics.
        """
        owned = and_(jobs.c.lease_owner == owner, jobs.c.state == "running")
        return await self._update_with_event(job_id, owned, changed)

    async def finish(
        self, job_id: str, owner: str, state: JobState, *, message: str, metrics: Mapping[str, Any]
    ) -> bool:
        """Ends the job; returns false if the lease is lost."""
        changed = {
            "state": state,
            "message": message,
            "metrics": dict(metrics),
            "ended_at": await self._now(),
        }
        if state == "succeeded":
            changed["progress"] = 1.0
        return await self.report(job_id, owner, lease_owner=None, lease_until=None, process=None, **changed)

    async def cancel(self, job_id: str) -> JobRecord | None:
        """Cancels a queued job at once, asks the runner of a running one; returns None for an unknown job."""
        end = {"state": "cancelled", "message": "cancelled before it began", "ended_at": await self._now()}
        if not await self._update_with_event(job_id, jobs.c.state == "queued", end):
            asked = update(jobs).where(jobs.c.job_id == job_id, jobs.c.state == "running")
            await self._connection.execute(asked.values(cancel_requested=True))
        return await self.get(job_id)

    async def _update_owned(self, job_id: str, owner: str, values: Mapping[str, Any]) -> bool:
        owned = (jobs.c.job_id == job_id, jobs.c.lease_owner == owner, jobs.c.state == "running")
        return (await self._connection.execute(update(jobs).where(*owned).values(values))).rowcount == 1

    async def _update_with_event(self, job_id: str, where: Any, changed: Mapping[str, Any]) -> bool:
        """Changes the job and adds an event. The row lock makes the order of commits that of the numbers."""
        done = (
            update(jobs)
            .where(jobs.c.job_id == job_id, where)
            .values(**changed, event_seq=jobs.c.event_seq + 1)
            .returning(
                jobs.c.event_seq,
                *(jobs.c[name] for name in ("state", "progress", "stage", "message", "metrics")),
            )
        )
        row = (await self._connection.execute(done)).first()
        if row is None:
            return False
        seq, *facts = row
        values = dict(zip(("state", "progress", "stage", "message", "metrics"), facts, strict=True))
        added = insert(job_events).values(job_id=job_id, seq=seq, at=await self._now(), **values)
        await self._connection.execute(added)
        expired = delete(job_events).where(
            job_events.c.job_id == job_id, job_events.c.seq <= seq - EVENTS_KEPT
        )
        await self._connection.execute(expired)
        return True
