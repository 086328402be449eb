"""A kind of job, the handle that it works with, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from service.jobs.job_files import MESSAGE_CHARACTERS, STAGE_CHARACTERS
from service.jobs.process import ProcessId
from service.store.database import Database
from service.store.job_records import JobRecord

REPORT_EVERY_S = 1.0


class JobFailed(Exception):
    """The job cannot be done, and another attempt would not help. Clients see the text: no path in it."""


class JobInterrupted(Exception):
    """The process that worked on the job died; another attempt may get further."""


class JobCancelled(Exception):
    """A client cancelled the job, and the work has stopped."""


class LeaseLost(Exception):
    """Another runner holds the job now; this one must no longer touch it."""


class JobHandle:
    """One job as its runner holds it."""

    def __init__(self, db: Database, job: JobRecord, owner: str, directory: Path) -> None:
        self._db, self._owner = db, owner
        self.job_id, self.kind = job.job_id, job.kind
        self.request: Mapping[str, Any] = job.request
        self.directory = directory
        self.process = ProcessId.parse(job.process)
        self.fraction, self.stage, self.message = job.progress, job.stage, job.message
        self.metrics: dict[str, Any] = dict(job.metrics)
        self.cancel_requested = job.cancel_requested
        self._reported_s = 0.0

    def cancelled(self) -> bool:
        """Whether a client cancelled the job. The kind then stops its work and raises JobCancelled."""
        return self.cancel_requested

    async def report_progress(
        self, fraction: float, stage: str, message: str = "", metrics: Mapping[str, Any] | None = None
    ) -> None:
        """Stores how far the job is, 0 to 1; the fraction never falls.

        Writes once a second at most, and always if the stage changes. Raises LeaseLost, StoreError.
        """
        changed = stage[:STAGE_CHARACTERS] != self.stage
        self.fraction = max(self.fraction, min(1.0, fraction))
        self.stage, self.message = stage[:STAGE_CHARACTERS], message[:MESSAGE_CHARACTERS]
        self.metrics |= metrics or {}
        if not changed and time.monotonic() - self._reported_s < REPORT_EVERY_S:
            return
        self._reported_s = time.monotonic()
        async with self._db.write() as uow:
            kept = await uow.jobs.report(
                self.job_id,
                self._owner,
                progress=self.fraction,
                stage=self.stage,
                message=self.message,
                metrics=self.metrics,
            )
            await uow.commit()
        if not kept:
            raise LeaseLost(self.job_id)

    async def set_process(self, process: ProcessId | None) -> None:
        """Stores which process does the work; None for none. Raises LeaseLost, StoreError."""
        async with self._db.write() as uow:
            stored = None if process is None else process.as_dict()
            kept = await uow.jobs.set_process(self.job_id, self._owner, stored)
            await uow.commit()
        if not kept:
            raise LeaseLost(self.job_id)
        self.process = process

    async def begin_attempt(self) -> int:
        """Counts an attempt. Returns how many in a row, with it, began without progress. Raises LeaseLost."""
        async with self._db.write() as uow:
            count = await uow.jobs.begin_attempt(self.job_id, self._owner)
            await uow.commit()
        if count is None:
            raise LeaseLost(self.job_id)
        return count


class JobKind(Protocol):
    """One kind of job. Its work is idempotent: a runner may run it again from the start at any moment."""

    @property
    def name(self) -> str: ...

    @property
    def on_accelerator(self) -> bool:
        """Whether a machine runs only one such job at a time."""
        ...

    async def run(self, handle: JobHandle) -> Mapping[str, Any]:
        """Does the work and returns the metrics of the finished job.

        Raises JobFailed, JobInterrupted, JobCancelled, LeaseLost, StoreError. The task is cancelled
        if the runner stops; another runner takes the job over later.
        """
        ...
