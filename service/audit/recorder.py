"""Records what happened without a change of rows: many events share one transaction (group commit).

Entries of enrolments, erasures and administration are written in the transaction of what they are about
(`UnitOfWork.audit`). An identification has no transaction and must not wait for one of its own: its event
joins a queue, and one writer commits the whole queue at a time.

Batched, the answer does not wait for the commit: a killed process loses the events of the last
`flush_s`, and a database that takes no writes loses those beyond `MAX_WAITING`; their number becomes an
entry of its own. Strict, the answer waits, and an operation that cannot be audited is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from service.errors import AuditUnavailable
from service.store.database import Database
from service.store.errors import StoreError
from service.store.records import AuditEvent
from service.telemetry import Metrics

MAX_WAITING = 10_000
# One transaction of this many rows takes tens of milliseconds; others can write between two.
MAX_BATCH = 500
RETRY_S = 1.0
SERVICE = "service"

log = structlog.get_logger("halflight.audit")


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    event: AuditEvent
    written: asyncio.Future[None] | None


class AuditRecorder:
    """The queue and its writer. `flush_s`: how long a batched event may wait before it is written."""

    def __init__(self, db: Database, metrics: Metrics, *, strict: bool, flush_s: float) -> None:
        self._db, self._metrics, self._strict, self._flush_s = db, metrics, strict, flush_s
        self._waiting: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._lost = 0
        self._closing = False
        self._writer: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the writer. Call it on the event loop that records."""
        self._writer = asyncio.create_task(self._run(), name="audit")

    async def close(self) -> None:
        """Writes what still waits and ends the writer; counts as lost what the database does not take."""
        self._closing = True
        self._wake.set()
        if self._writer is not None:
            await self._writer
        self._lose(len(self._waiting))
        self._waiting.clear()

    def note(self, event: AuditEvent) -> None:
        """Records an event that nobody waits for, also strict: a refusal stays a refusal."""
        if len(self._waiting) >= MAX_WAITING:
            self._lose(1)
            return
        self._waiting.append(_Waiting(event, None))
        self._wake.set()

    async def record(self, *events: AuditEvent) -> None:
        """Records events. Strict: returns once they are committed, else raises AuditUnavailable.

        Batched: returns at once.
        """
        if not events:
            return
        if len(self._waiting) + len(events) > MAX_WAITING:
            if self._strict:
                raise AuditUnavailable("the audit log takes no more entries now, and none may be missing")
            self._lose(len(events))
            return
        if not self._strict:
            for event in events:
                self.note(event)
            return
        written = asyncio.get_running_loop().create_future()
        # They may fall into two batches: the last one decides, and a failed one fails them all.
        self._waiting += [_Waiting(event, written) for event in events]
        self._wake.set()
        await written

    async def _run(self) -> None:
        while not self._closing:
            await self._wake.wait()
            if not self._strict and not self._closing and len(self._waiting) < MAX_BATCH:
                # Let events gather: one commit for all of them.
                await asyncio.sleep(self._flush_s)
            if self._waiting and not await self._write_batch() and not self._closing:
                await asyncio.sleep(0 if self._strict else RETRY_S)
        while self._waiting and await self._write_batch():
            pass

    async def _write_batch(self) -> bool:
        """Commits up to `MAX_BATCH` events; returns whether the database took them."""
        batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        if not self._waiting:
            self._wake.clear()
        events, lost = [one.event for one in batch], self._lost
        if lost:
            events.append(_loss(lost))
        try:
            async with self._db.write() as uow:
                await uow.audit.extend(events)
                await uow.terms.matched(last_matches(events))
                await uow.commit()
        except StoreError as error:
            log.warning("the audit log cannot be written", cause=type(error.__cause__).__name__)
            self._fail(batch)
            return False
        self._lost -= lost
        self._metrics.audit_entries.inc(len(batch))
        still = {one.written for one in self._waiting}
        for one in batch:
            if one.written is not None and one.written not in still and not one.written.done():
                one.written.set_result(None)
        return True

    def _fail(self, batch: Sequence[_Waiting]) -> None:
        if not self._strict:
            self._waiting = [*batch, *self._waiting]
            self._wake.set()
            return
        self._lose(sum(one.written is None for one in batch))
        for one in batch:
            if one.written is not None and not one.written.done():
                one.written.set_exception(
                    AuditUnavailable("this cannot be written to the audit log now, so it is refused")
                )

    def _lose(self, count: int) -> None:
        if count:
            self._lost += count
            self._metrics.audit_lost.inc(count)
            log.error("audit entries are lost", entries=count)


def last_matches(events: Sequence[AuditEvent]) -> dict[str, datetime]:
    """When each subject was last matched, for the retention of subjects: no request writes that itself."""
    latest: dict[str, datetime] = {}
    for event in events:
        for subject_id in event.matched:
            latest[subject_id] = max(event.at, latest.get(subject_id, event.at))
    return latest


def _loss(count: int) -> AuditEvent:
    return AuditEvent(at=datetime.now(UTC), actor=SERVICE, action="audit.lost", detail={"entries": count})
