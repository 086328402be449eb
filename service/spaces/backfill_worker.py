"""Fills the spaces that somebody asked for, one process at a time, until each is ready or cannot be."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable

import structlog

from faces.bundle import BundleError
from service.crops import NOT_KEPT, CropVault
from service.inference.batcher import BatcherClosed
from service.inference.parity import ParityError
from service.spaces.backfill import BackfillReport, Throttle, backfill
from service.spaces.readiness import SpaceNotFit, check
from service.spaces.registry import SpaceRegistry
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from service.store.errors import StoreError

log = structlog.get_logger("halflight.filler")

# Short: two processes that fill one space do no harm, and after a kill somebody should go on soon.
LEASE_S = 4.0
TELL_EVERY_S = 0.5


class SpaceFiller:
    """`serve` runs in every replica; the lease in the database says who works on a space."""

    def __init__(
        self,
        db: Database,
        registry: SpaceRegistry,
        vault: CropVault,
        *,
        busy: Callable[[], bool],
        poll_s: float,
    ) -> None:
        self._db, self._registry, self._vault = db, registry, vault
        self._busy, self._poll_s = busy, poll_s
        self._owner = uuid.uuid4().hex
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something was asked for in this process: do not wait for the next look."""
        self._wake.set()

    async def serve(self) -> None:
        """Look for spaces to fill until cancelled."""
        while True:
            try:
                async with self._db.read() as uow:
                    waiting = await uow.backfills.unclaimed()
                for space_id in waiting:
                    await self.fill(space_id)
            except StoreError as error:
                log.warning("filler waits for the database", cause=type(error.__cause__).__name__)
            try:
                await asyncio.wait_for(self._wake.wait(), self._poll_s)
            except TimeoutError:
                continue
            self._wake.clear()

    async def fill(self, space_id: str) -> BackfillReport | None:
        """Fill one space and make it ready; None where another process does it, or it was let go of.

        Cancelled, or its lease lost, it can be taken up again at any time. Raises StoreError.
        """
        async with self._db.write() as uow:
            if not await uow.backfills.claim(space_id, self._owner, LEASE_S):
                return None
            await uow.commit()
        try:
            report = await self._work(space_id)
        except (asyncio.CancelledError, StoreError):
            await self._release(space_id)
            raise
        except BatcherClosed:
            # A newer bundle of the space took the place of the one that embedded: whoever looks next goes on.
            await self._release(space_id)
            return None
        except Exception as error:  # noqa: BLE001 - said in the space's report; the service goes on
            told = isinstance(error, (BundleError, ParityError, SpaceNotFit))
            reason = str(error) if told else f"the backfill failed ({type(error).__name__})"
            log.error("backfill failed", space_id=space_id, kind=type(error).__name__)
            report = BackfillReport(message=reason)
            await self._finish(space_id, report)
        return report

    async def _work(self, space_id: str) -> BackfillReport:
        space = await self._registry.load(space_id)
        told_s, ours = time.monotonic(), True

        async def tell(report: BackfillReport) -> None:
            nonlocal told_s, ours
            if time.monotonic() - told_s < TELL_EVERY_S:
                return
            told_s = time.monotonic()
            async with self._db.write() as uow:
                ours = await uow.backfills.renew(space_id, self._owner, LEASE_S, report.as_dict())
                await uow.commit()

        throttle = Throttle(busy=self._busy)
        while True:
            report = await backfill(
                self._db,
                space,
                self._vault,
                throttle=throttle,
                on_progress=tell,
                stop=lambda: not ours,
            )
            if report.stopped:
                await self._release(space_id)
                return report
            async with self._db.read() as uow:
                missing = await uow.templates.count_missing(space_id)
            if not missing or not report.added:
                return await self._conclude(space, report, missing)

    async def _conclude(self, space: EmbeddingSpace, report: BackfillReport, missing: int) -> BackfillReport:
        """Ready, or the reason why it cannot be."""
        if missing:
            report.message = _lacks(report, missing)
            await self._finish(space.space_id, report)
            return report
        await check(self._db, space, self._vault)
        async with self._db.write() as uow:
            await uow.spaces.lock_exclusive()
            if left := await uow.templates.count_missing(space.space_id):
                raise SpaceNotFit(f"{left} samples were enrolled without a template in the space")
            await uow.spaces.transition(space.space_id, ("backfilling",), "ready")
            await uow.backfills.finish(space.space_id, report.as_dict())
            await uow.commit()
        log.info("space ready", space_id=space.space_id, added=report.added)
        return report

    async def _finish(self, space_id: str, report: BackfillReport) -> None:
        async with self._db.write() as uow:
            await uow.backfills.finish(space_id, report.as_dict())
            await uow.commit()

    async def _release(self, space_id: str) -> None:
        try:
            async with self._db.write() as uow:
                await uow.backfills.release(space_id, self._owner)
                await uow.commit()
        except StoreError:
            # The lease runs out by itself.
            return


def _lacks(report: BackfillReport, missing: int) -> str:
    parts = [f"{missing} samples have no template"]
    if report.without_crop:
        parts.append(f"{report.without_crop} of them have no kept crop: {NOT_KEPT}")
    if report.unreadable:
        parts.append(f"{report.unreadable} crops do not open with this crop key")
    if report.failed:
        parts.append(f"the networks gave no vector for {report.failed} crops")
    return "; ".join(parts)
