"""The queue of jobs: submits, lists and cancels them, whichever replica runs them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from service.errors import JobNotFound, JobRunning
from service.store.database import Database
from service.store.errors import JobUnfinished
from service.store.job_records import JobEvent, JobRecord
from service.store.unit import UnitOfWork

EarlyCancel = Callable[[JobRecord, str], Awaitable[None]]


def new_job_id() -> str:
    """A new id. It begins with the time in milliseconds, so ids sort in order of submission."""
    return f"job-{int(time.time() * 1000):012x}-{secrets.token_hex(6)}"


async def enqueue(
    uow: UnitOfWork, kind: str, request: Mapping[str, Any], *, actor: str, sole: bool = False
) -> str:
    """Queues a job within the caller's transaction and returns its id. Raises JobUnfinished, StoreError."""
    job_id = new_job_id()
    await uow.jobs.add(job_id, kind, request, sole=kind if sole else None)
    await uow.audit.add(actor, "job.submit", None, {"job_id": job_id, "kind": kind})
    return job_id


class JobQueue:
    """The use cases of clients on the table of jobs."""

    def __init__(self, db: Database, on_early_cancel: Mapping[str, EarlyCancel] | None = None) -> None:
        """`on_early_cancel`: by kind, called with a job that was cancelled before it began."""
        self._db, self._on_early_cancel = db, on_early_cancel or {}

    async def submit(
        self,
        kind: str,
        request: Mapping[str, Any],
        *,
        actor: str,
        sole: bool = False,
    ) -> str:
        """Queues a job and returns its id.

        `sole`: only one job of this kind may wait or run. Raises JobRunning, StoreError.
        """
        try:
            async with self._db.write() as uow:
                job_id = await enqueue(uow, kind, request, actor=actor, sole=sole)
                await uow.commit()
        except JobUnfinished as error:
            raise JobRunning(f"a {kind} job waits or runs already: cancel it, or wait for its end") from error
        return job_id

    async def get(self, job_id: str) -> JobRecord:
        """Raises JobNotFound, StoreError."""
        async with self._db.read() as uow:
            found = await uow.jobs.get(job_id)
        if found is None:
            raise JobNotFound("there is no such job")
        return found

    async def page(self, before: str | None, limit: int) -> list[JobRecord]:
        """Up to `limit` jobs older than `before`, newest first. Raises StoreError."""
        async with self._db.read() as uow:
            return await uow.jobs.page(before, limit)

    async def events(self, job_id: str, after: int, limit: int = 100) -> list[JobEvent]:
        """Up to `limit` events after number `after`, oldest first. Raises StoreError."""
        async with self._db.read() as uow:
            return await uow.jobs.events(job_id, after, limit)

    async def cancel(self, job_id: str, *, actor: str) -> JobRecord:
        """Cancels a queued job, asks the runner of a running job to stop, leaves a finished job alone.

        Raises JobNotFound, StoreError.
        """
        async with self._db.write() as uow:
            before = await uow.jobs.get(job_id)
            found = await uow.jobs.cancel(job_id)
            if before is None or found is None:
                raise JobNotFound("there is no such job")
            await uow.audit.add(actor, "job.cancel", None, {"job_id": job_id})
            await uow.commit()
        act = self._on_early_cancel.get(found.kind)
        if act is not None and before.state == "queued" and found.state == "cancelled":
            await act(found, actor)
        return found
