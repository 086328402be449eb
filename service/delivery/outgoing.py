"""Delivers events at least once: kept before the answer goes out, sent until each receiver confirms them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from service.delivery.channel import Receiver
from service.live.feed import LiveEvent
from service.store.database import Database
from service.store.errors import StoreError
from service.store.outbox import DueEvent, NewEvent, Undelivered
from service.store.unit import UnitOfWork
from service.telemetry import Metrics

log = structlog.get_logger("halflight.delivery")

AT_ONCE = 8
# How often the database is asked though nothing is known to be due: another replica may have died, whose
# events nobody else would send.
LOOK_EVERY_S = 30.0
LEAST_WAIT_S = 0.05
RETRY_DATABASE_S = 1.0
COUNT_EVERY_S = 1.0


@dataclass(slots=True)
class Attempted:
    """The latest attempts of this process at one receiver. `error`: why the failed one failed."""

    delivered_at: datetime | None = None
    failed_at: datetime | None = None
    error: str | None = None


class Outgoing:
    """Keeps events and sends them to every receiver. `encode`: makes the JSON of an event."""

    def __init__(
        self,
        db: Database,
        metrics: Metrics,
        encode: Callable[[LiveEvent], bytes],
        receivers: Sequence[Receiver],
    ) -> None:
        self._db, self._metrics, self._encode = db, metrics, encode
        self.receivers = tuple(receivers)
        self._names = tuple(one.name for one in receivers)
        self.attempted = {name: Attempted() for name in self._names}
        self._news = {name: asyncio.Event() for name in self._names}
        self._counted = 0.0

    async def keep(self, events: Sequence[LiveEvent]) -> None:
        """Stores events until they are delivered. Raises StoreError: then nothing was answered either."""
        if not self.receivers or not events:
            return
        async with self._db.write() as uow:
            await self.store(uow, events)
            await uow.commit()
        self.wake()

    async def store(self, uow: UnitOfWork, events: Sequence[LiveEvent]) -> None:
        """Stores events in the transaction of what they are about; call `wake` once it has ended."""
        if not self.receivers:
            return
        for one in events:
            subject = None if one.subject is None else one.subject.subject_id
            event = NewEvent(one.event_id, one.at, subject, self._encode(one))
            await uow.outbox.add(event, self._names)

    def wake(self) -> None:
        """Sends what is due now instead of a moment later."""
        for news in self._news.values():
            news.set()

    async def run(self) -> None:
        """Sends what is due until it is cancelled."""
        await self._count(at_once=True)
        async with asyncio.TaskGroup() as group:
            for receiver in self.receivers:
                group.create_task(self._keep_serving(receiver), name=f"events to {receiver.name}")

    async def _keep_serving(self, receiver: Receiver) -> None:
        while True:
            try:
                await self._serve(receiver)
            except Exception as error:  # noqa: BLE001 - a fault of one receiver ends no other's deliveries
                kind = type(error).__name__
                log.error("a receiver's deliveries broke off", receiver=receiver.name, cause=kind)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _serve(self, receiver: Receiver) -> None:
        async with receiver.channel.opened():
            while True:
                await receiver.channel.ready()
                self._news[receiver.name].clear()
                try:
                    wait_s = await self._send_due(receiver)
                except StoreError as error:
                    log.warning("events wait for the database", cause=type(error.__cause__).__name__)
                    wait_s = RETRY_DATABASE_S
                if wait_s:
                    await self._pause(receiver, wait_s)

    async def _pause(self, receiver: Receiver, wait_s: float) -> None:
        try:
            await asyncio.wait_for(self._news[receiver.name].wait(), wait_s)
        except TimeoutError:
            return

    async def _send_due(self, receiver: Receiver) -> float:
        """Sends some events; returns for how long nothing will be due, unless there are news."""
        now = datetime.now(UTC)
        async with self._db.read() as uow:
            next_due = await uow.outbox.next_due(receiver.name)
        if next_due is None or next_due > now:
            await self._count(at_once=True)
            known_s = LOOK_EVERY_S if next_due is None else (next_due - now).total_seconds()
            return min(LOOK_EVERY_S, max(LEAST_WAIT_S, known_s))
        # Whoever dies meanwhile leaves its events to others, or to itself after a restart.
        until = now + timedelta(seconds=2 * receiver.pace.timeout_s + 1)
        async with self._db.write() as uow:
            due = await uow.outbox.claim(receiver.name, now, until, AT_ONCE)
            await uow.commit()
        errors = await asyncio.gather(*(receiver.channel.send(one) for one in due))
        for event, error in zip(due, errors, strict=True):
            await self._note(receiver, event, error)
        await self._count()
        return 0.0

    async def _note(self, receiver: Receiver, event: DueEvent, error: str | None) -> None:
        outcome = "delivered" if error is None else "failed"
        self._metrics.webhook_attempts.labels(outcome, receiver.name).inc()
        latest, now = self.attempted[receiver.name], datetime.now(UTC)
        if error is None:
            latest.delivered_at = now
        else:
            latest.failed_at, latest.error = now, error
        async with self._db.write() as uow:
            if error is None:
                await uow.outbox.confirm(receiver.name, event.event_id)
            else:
                failed = event.attempts + 1
                again = None
                if failed < receiver.pace.attempts:
                    again = datetime.now(UTC) + timedelta(seconds=receiver.pace.wait_s(failed))
                await uow.outbox.fail(receiver.name, event.event_id, error, again)
            await uow.commit()

    async def _count(self, *, at_once: bool = False) -> None:
        """Shows in the metrics what waits; not in every round of many."""
        if not at_once and time.monotonic() - self._counted < COUNT_EVERY_S:
            return
        self._counted = time.monotonic()
        try:
            async with self._db.read() as uow:
                found = await uow.outbox.count()
        except StoreError:
            # Whoever sends meets the same, and says so.
            return
        # A receiver that is set no more keeps its events until they expire: the operator sees them.
        for name in {*self._names, *found}:
            number = found.get(name, Undelivered(0, 0))
            self._metrics.webhook_events.labels("waiting", name).set(number.waiting)
            self._metrics.webhook_events.labels("dead", name).set(number.dead)
