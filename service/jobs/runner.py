"""The embedded runner: claims jobs from the queue under a lease and runs them.

It runs one job on the accelerator and one beside it at a time. A job belongs to the runner that holds
its lease. A runner that dies no longer prolongs the lease; another one (or the same service, started
again) takes the job over and finds in the table which process works on it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from service.jobs.base import JobCancelled, JobFailed, JobHandle, JobInterrupted, JobKind
from service.jobs.job_files import HEARTBEAT, PRIVATE
from service.jobs.process import ProcessId
from service.store.database import Database
from service.store.errors import StoreError
from service.store.job_records import Claim, JobState

log = structlog.get_logger("halflight.jobs")
OnEnd = Callable[[Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """`lease_s`: time without a heartbeat after which another runner takes the job over.

    `attempts`: number of attempts in a row without progress after which a job fails.
    """

    lease_s: float = 15.0
    poll_s: float = 0.5
    attempts: int = 4


class JobRunner:
    """Runs jobs of the given kinds.

    `on_end`: by kind, called with the request of a job that ended, whatever its outcome, before its row says
    so: it erases what that job alone needed.
    """

    def __init__(
        self,
        db: Database,
        kinds: Sequence[JobKind],
        directory: Path,
        options: RunnerOptions | None = None,
        *,
        on_end: Mapping[str, OnEnd] | None = None,
    ) -> None:
        self._db, self._directory, self._options = db, directory, options or RunnerOptions()
        self._on_end = on_end or {}
        self._kinds = {kind.name: kind for kind in kinds}
        self._process = ProcessId.of(os.getpid())
        # Two runners in one process (tests) are two owners.
        self._owner = f"{self._process.host}|{self._process.pid}|{self._process.started}|{id(self):x}"
        self._working: dict[bool, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Claims and runs jobs until cancelled; then leaves running processes to the next runner."""
        try:
            while True:
                try:
                    await self._claim_jobs()
                except StoreError as error:
                    log.warning("jobs wait for the database", cause=type(error.__cause__).__name__)
                await asyncio.sleep(self._options.poll_s)
        finally:
            for task in self._working.values():
                task.cancel()
            await asyncio.gather(*self._working.values(), return_exceptions=True)

    async def _claim_jobs(self) -> None:
        self._working = {lane: task for lane, task in self._working.items() if not task.done()}
        if len(self._working) < 2:
            await self._expire_dead_leases()
        for lane in (True, False):
            names = [kind.name for kind in self._kinds.values() if kind.on_accelerator is lane]
            if lane in self._working or not names:
                continue
            async with self._db.read() as uow:
                if not await uow.jobs.any_claimable(names):
                    continue
            async with self._db.write() as uow:
                slot = self._process.host if lane else None
                claim = await uow.jobs.claim(
                    self._owner, kinds=names, slot=slot, lease_s=self._options.lease_s
                )
                await uow.commit()
            if claim is not None:
                self._working[lane] = asyncio.create_task(self._run_job(claim), name=claim.job.job_id)

    async def _expire_dead_leases(self) -> None:
        """Ends the leases of dead runners of this machine, before they run out."""
        async with self._db.read() as uow:
            running = await uow.jobs.running()
        for job in running:
            host, _, rest = (job.lease_owner or "").partition("|")
            if job.lease_owner is None or host != self._process.host:
                continue
            pid, started, _ = rest.split("|")
            if not ProcessId(host, int(pid), int(started)).alive():
                async with self._db.write() as uow:
                    await uow.jobs.expire(job.job_id, job.lease_owner)
                    await uow.commit()

    async def _run_job(self, claim: Claim) -> None:
        """Runs one job from its claim to its end."""
        job = claim.job
        directory = self._directory / job.job_id
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = JobHandle(self._db, job, self._owner, directory)
        log.info("job begins", job=job.job_id, kind=job.kind)
        heartbeat = asyncio.create_task(self._heartbeat(handle))
        work = asyncio.create_task(self._attempts(self._kinds[job.kind], handle, claim))
        try:
            await asyncio.wait({heartbeat, work}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                log.warning("lease lost", job=job.job_id)
                return
            await self._finish(handle, *_outcome(work))
        except asyncio.CancelledError:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await self._release(handle)
            raise
        finally:
            for task in (heartbeat, work):
                task.cancel()
            await asyncio.gather(heartbeat, work, return_exceptions=True)

    async def _attempts(self, kind: JobKind, handle: JobHandle, claim: Claim) -> Mapping[str, Any]:
        """Runs the job again after each interruption, until `_next_attempt` gives up."""
        reason: str | None = None
        if claim.interrupted and handle.process is None:
            reason = "the service died at it"
        while True:
            try:
                if reason is not None:
                    await self._next_attempt(handle, reason)
                    reason = None
                return await kind.run(handle)
            except JobInterrupted as error:
                reason = str(error)
            except StoreError:
                # `_heartbeat` watches the lease and ends this wait when the lease is lost.
                await asyncio.sleep(self._options.poll_s)

    async def _next_attempt(self, handle: JobHandle, reason: str) -> None:
        """Counts the attempt. Raises JobFailed after too many without progress, JobCancelled."""
        if handle.cancelled():
            raise JobCancelled
        attempts = await handle.begin_attempt()
        if attempts >= self._options.attempts:
            raise JobFailed(f"{reason}; given up after {attempts} attempts")
        log.warning("job interrupted", job=handle.job_id, kind=handle.kind, why=reason)
        await handle.report_progress(handle.fraction, "resuming", f"{reason}; it goes on from what was kept")

    async def _heartbeat(self, handle: JobHandle) -> None:
        """Prolongs the lease and reads whether the job is cancelled; returns when the lease is lost."""
        options, held_s, renew_s = self._options, time.monotonic(), 0.0
        while time.monotonic() - held_s < options.lease_s:
            with suppress(OSError):
                (handle.directory / HEARTBEAT).touch()
            with suppress(StoreError):
                if time.monotonic() >= renew_s:
                    async with self._db.write() as uow:
                        if not await uow.jobs.heartbeat(handle.job_id, self._owner, lease_s=options.lease_s):
                            return
                        await uow.commit()
                    held_s = time.monotonic()
                    renew_s = held_s + options.lease_s / 3
                async with self._db.read() as uow:
                    handle.cancel_requested = await uow.jobs.cancel_requested(handle.job_id)
            await asyncio.sleep(options.poll_s)

    async def _finish(
        self, handle: JobHandle, state: JobState, message: str, metrics: Mapping[str, Any] | None
    ) -> None:
        await asyncio.to_thread(shutil.rmtree, handle.directory / PRIVATE, ignore_errors=True)
        if (on_end := self._on_end.get(handle.kind)) is not None:
            await on_end(handle.request)
        log.info("job ends", job=handle.job_id, kind=handle.kind, state=state, message=message)
        shown = handle.metrics | dict(metrics or {})
        while True:
            try:
                async with self._db.write() as uow:
                    await uow.jobs.finish(
                        handle.job_id, self._owner, state, message=message or handle.message, metrics=shown
                    )
                    await uow.commit()
            except StoreError:
                await asyncio.sleep(self._options.poll_s)
            else:
                return

    async def _release(self, handle: JobHandle) -> None:
        with suppress(StoreError):
            async with self._db.write() as uow:
                await uow.jobs.release(handle.job_id, self._owner)
                await uow.commit()


def _outcome(work: asyncio.Task[Mapping[str, Any]]) -> tuple[JobState, str, Mapping[str, Any] | None]:
    error = work.exception()
    if error is None:
        return "succeeded", "", work.result()
    if isinstance(error, JobCancelled):
        return "cancelled", "cancelled on request", None
    if isinstance(error, JobFailed):
        return "failed", str(error), None
    # The text of an exception may hold data of the job: only its type is shown.
    log.error("job failed", kind=type(error).__name__, cause=type(error.__cause__).__name__)
    return "failed", f"the service failed at it ({type(error).__name__}); see its log", None
