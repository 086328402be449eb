"""The work of a backfill job: fills a space until it is ready, or stores why it cannot be."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from faces.bundle import BundleError
from service.crops import NOT_KEPT
from service.inference.batcher import BatcherClosed
from service.inference.parity import ParityError
from service.jobs.base import JobHandle, LeaseLost
from service.spaces.backfill import BackfillReport, backfill
from service.spaces.readiness import SpaceNotFit, check_readiness
from service.spaces.registry import SpaceRegistry
from service.spaces.space import EmbeddingSpace
from service.spaces.throttle import Throttle
from service.store.database import Database
from service.store.errors import StoreError

log = structlog.get_logger("halflight.filler")

STAGE = "backfilling"
REPORT_EVERY_S = 0.5


class BackfillWorker:
    """Fills one space within a job; the lease of the job says which replica does. `busy`: see Throttle."""

    def __init__(self, db: Database, registry: SpaceRegistry, *, busy: Callable[[], bool]) -> None:
        self._db, self._registry, self._busy = db, registry, busy

    async def fill(self, handle: JobHandle, space_id: str, *, low: float = 0.0, high: float = 1.0) -> None:
        """Fills a space in the state `backfilling` and makes it ready.

        If it cannot become ready, the stored report says why. Ends early if the job is cancelled or the
        space is no longer writable. The progress of the job goes from `low` to `high`. Another runner may
        resume the work at any time. Raises LeaseLost, StoreError.
        """
        async with self._db.write() as uow:
            wanted = await uow.backfills.begin(space_id, handle.job_id)
            await uow.commit()
        if not wanted:
            return
        progress = _Progress(self._db, handle, space_id, max(low, handle.fraction), high)
        try:
            await progress.write(BackfillReport())
            await self._fill(handle, space_id, progress)
        except (LeaseLost, StoreError):
            raise
        except Exception as error:  # noqa: BLE001 - the report shows the reason; the service goes on
            known = isinstance(error, (BundleError, ParityError, SpaceNotFit))
            reason = str(error) if known else f"the backfill failed ({type(error).__name__})"
            log.error("backfill failed", space_id=space_id, kind=type(error).__name__)
            await self._finish(space_id, BackfillReport(message=reason))

    async def _fill(self, handle: JobHandle, space_id: str, progress: _Progress) -> None:
        throttle = Throttle(busy=self._busy)
        while True:
            space = await self._registry.load(space_id)
            try:
                report = await backfill(
                    self._db,
                    space,
                    throttle=throttle,
                    on_progress=progress.update,
                    stop=handle.cancelled,
                )
                if report.stopped:
                    return
                async with self._db.read() as uow:
                    missing = await uow.templates.count_missing(space_id)
                if not missing or not report.added:
                    await self._conclude(space, report, missing)
                    return
            except BatcherClosed:
                # A newer bundle of the space replaced the networks: the next pass loads its own.
                continue

    async def _conclude(self, space: EmbeddingSpace, report: BackfillReport, missing: int) -> None:
        """Makes the space ready, or stores the reason why it cannot be. Raises SpaceNotFit, StoreError."""
        if missing:
            report.message = _shortfall(report, missing)
            await self._finish(space.space_id, report)
            return
        await check_readiness(self._db, space)
        async with self._db.write() as uow:
            await uow.spaces.lock_exclusive()
            if left := await uow.templates.count_missing(space.space_id):
                raise SpaceNotFit(f"{left} samples were enrolled without a template in the space")
            await uow.spaces.transition(space.space_id, ("backfilling",), "ready")
            await uow.backfills.finish(space.space_id, report.as_dict())
            await uow.commit()
        log.info("space ready", space_id=space.space_id, added=report.added)

    async def _finish(self, space_id: str, report: BackfillReport) -> None:
        async with self._db.write() as uow:
            await uow.backfills.finish(space_id, report.as_dict())
            await uow.commit()


class _Progress:
    """Stores the report of a backfill in its space and in its job, from `low` to `high` of the job."""

    def __init__(self, db: Database, handle: JobHandle, space_id: str, low: float, high: float) -> None:
        self._db, self._handle, self._space_id = db, handle, space_id
        self._low, self._high = low, high
        self._written_s = time.monotonic()

    async def update(self, report: BackfillReport) -> None:
        """Writes the report, twice a second at most. Raises LeaseLost, StoreError."""
        if time.monotonic() - self._written_s < REPORT_EVERY_S:
            return
        async with self._db.write() as uow:
            await uow.backfills.report(self._space_id, self._handle.job_id, report.as_dict())
            await uow.commit()
        await self.write(report)

    async def write(self, report: BackfillReport) -> None:
        """Writes the progress of the job only."""
        self._written_s = time.monotonic()
        async with self._db.read() as uow:
            templates = await uow.templates.count(self._space_id)
            missing = await uow.templates.count_missing(self._space_id)
        share = report.fraction if report.total else 0.0
        await self._handle.report_progress(
            self._low + max(0.0, self._high - self._low) * share,
            STAGE,
            f"{templates} templates, {missing} missing",
        )


def _shortfall(report: BackfillReport, missing: int) -> str:
    parts = [f"{missing} samples have no template"]
    if report.without_crop:
        parts.append(f"{report.without_crop} of them have no kept crop: {NOT_KEPT}")
    if report.unreadable:
        parts.append(f"{report.unreadable} crops do not open")
    if report.failed:
        parts.append(f"the networks gave no vector for {report.failed} crops")
    return "; ".join(parts)
