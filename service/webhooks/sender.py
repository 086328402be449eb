"""Delivers events at least once: kept before the answer goes out, sent until the receiver says 2xx."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import structlog

from service.live.decisions import Decision
from service.store.database import Database
from service.store.errors import StoreError
from service.store.outbox import DueEvent, NewEvent
from service.telemetry import Metrics
from service.webhooks.signing import headers
from service.webhooks.target import Target, Unreachable

log = structlog.get_logger("halflight.webhooks")

AT_ONCE = 8
LOOK_EVERY_S = 1.0
LONGEST_WAIT_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """`timeout_s`: of one attempt; `retry_s`: the wait after the first failure, twice as long after each
    further one; `attempts`: after so many an event is tried no more."""

    target: Target
    secret: bytes
    timeout_s: float
    retry_s: float
    attempts: int


def wait_s(delivery: Delivery, failed: int) -> float:
    """Seconds before the next attempt after `failed` ones: full jitter in the upper half, an hour at most."""
    longest = min(LONGEST_WAIT_S, delivery.retry_s * 2.0 ** min(failed - 1, 30))
    return longest * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, protects nothing


class WebhookSender:
    """Keeps events and sends them. `encode`: makes the JSON of a decision. None of it without `delivery`."""

    def __init__(
        self,
        db: Database,
        metrics: Metrics,
        encode: Callable[[Decision], bytes],
        delivery: Delivery | None,
    ) -> None:
        self._db, self._metrics, self._encode, self._delivery = db, metrics, encode, delivery
        self._news = asyncio.Event()

    @property
    def on(self) -> bool:
        return self._delivery is not None

    async def keep(self, decisions: Sequence[Decision]) -> None:
        """Stores decisions until they are delivered. Raises StoreError: then nothing was answered either."""
        if self._delivery is None or not decisions:
            return
        async with self._db.write() as uow:
            for one in decisions:
                subject = None if one.subject is None else one.subject.subject_id
                await uow.outbox.add(NewEvent(one.event_id, one.at, subject, self._encode(one)))
            await uow.commit()
        self._news.set()

    async def run(self) -> None:
        """Sends what is due until it is cancelled."""
        if self._delivery is None:
            return
        limits = httpx.Limits(max_connections=AT_ONCE)
        # No proxy and no redirect: both would connect elsewhere than was checked.
        async with httpx.AsyncClient(
            timeout=self._delivery.timeout_s, limits=limits, trust_env=False, follow_redirects=False
        ) as client:
            while True:
                self._news.clear()
                try:
                    sent = await self._send_due(client, self._delivery)
                except StoreError as error:
                    log.warning("webhooks wait for the database", cause=type(error.__cause__).__name__)
                    sent = 0
                if sent < AT_ONCE:
                    await self._pause()

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._news.wait(), LOOK_EVERY_S)
        except TimeoutError:
            return

    async def _send_due(self, client: httpx.AsyncClient, delivery: Delivery) -> int:
        now = datetime.now(UTC)
        async with self._db.read() as uow:
            is_due = await uow.outbox.is_due(now)
            waiting, dead = await uow.outbox.count()
        self._metrics.webhook_events.labels("waiting").set(waiting)
        self._metrics.webhook_events.labels("dead").set(dead)
        if not is_due:
            return 0
        # Whoever dies meanwhile leaves its events to others, or to itself after a restart.
        until = now + timedelta(seconds=2 * delivery.timeout_s + 1)
        async with self._db.write() as uow:
            due = await uow.outbox.claim(now, until, AT_ONCE)
            await uow.commit()
        for event, error in zip(
            due, await asyncio.gather(*(self._attempt(client, delivery, one) for one in due)), strict=True
        ):
            await self._note(delivery, event, error)
        return len(due)

    async def _attempt(self, client: httpx.AsyncClient, delivery: Delivery, event: DueEvent) -> str | None:
        """Why an attempt failed; None if the receiver has confirmed the event."""
        try:
            async with asyncio.timeout(delivery.timeout_s):
                url, host = await delivery.target.request()
                signed = headers(delivery.secret, event.event_id, int(time.time()), event.body)
                async with client.stream(
                    "POST",
                    url,
                    content=event.body,
                    headers={"host": host, "content-type": "application/json", **signed},
                    extensions={"sni_hostname": httpx.URL(delivery.target.url).host},
                ) as answer:
                    return None if answer.is_success else f"status {answer.status_code}"
        except Unreachable as error:
            return str(error)
        except (TimeoutError, httpx.HTTPError) as error:
            return type(error).__name__

    async def _note(self, delivery: Delivery, event: DueEvent, error: str | None) -> None:
        self._metrics.webhook_attempts.labels("delivered" if error is None else "failed").inc()
        async with self._db.write() as uow:
            if error is None:
                await uow.outbox.confirm(event.event_id)
            else:
                failed = event.attempts + 1
                again = None
                if failed < delivery.attempts:
                    again = datetime.now(UTC) + timedelta(seconds=wait_s(delivery, failed))
                await uow.outbox.fail(event.event_id, error, again)
            await uow.commit()
