"""Keeps the crops of decisions where the settings say so, and publishes the decisions.

Nobody's answer waits for it: decisions join a bounded queue, and one task writes many in a transaction.
A decision whose crop cannot be kept, since the queue or the disk is full, is published without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import cv2
import structlog

from faces.types import Embedding, Role
from service.inference.engine import Description
from service.live.decisions import Decision
from service.live.facts import facts_of
from service.live.feed import DecisionFeed
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from service.store.errors import StoreError
from service.store.probes import NewProbe, ProbeState
from service.telemetry import Metrics

MAX_WAITING = 256
MAX_BATCH = 32

log = structlog.get_logger("halflight.live")


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A decision and the face that it is about."""

    decision: Decision
    description: Description


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    seen: Seen
    space: EmbeddingSpace


class ProbeKeeper:
    """The queue and its writer. `hours`: how long a crop is kept; 0: none is, and nothing is written."""

    def __init__(self, db: Database, feed: DecisionFeed, metrics: Metrics, *, hours: float) -> None:
        self._db, self._feed, self._metrics, self._hours = db, feed, metrics, hours
        self._waiting: asyncio.Queue[_Waiting | None] = asyncio.Queue(MAX_WAITING)
        self._writer: asyncio.Task[None] | None = None

    @property
    def lasts(self) -> timedelta | None:
        """How long a crop is kept; None if none is."""
        return timedelta(hours=self._hours) if self._hours else None

    def start(self) -> None:
        """Starts the writer. Call it on the event loop that offers."""
        if self._hours:
            self._writer = asyncio.create_task(self._run(), name="probes")

    async def close(self) -> None:
        """Keeps what still waits and ends the writer."""
        if self._writer is not None:
            await self._waiting.put(None)
            await self._writer
            self._writer = None

    def offer(self, space: EmbeddingSpace, *seen: Seen) -> None:
        """Publishes decisions, once their crops are kept if they are to be."""
        for one in seen:
            if self._writer is None:
                self._feed.publish(one.decision)
                continue
            try:
                self._waiting.put_nowait(_Waiting(one, space))
            except asyncio.QueueFull:
                self._metrics.probes_not_kept.inc()
                self._feed.publish(one.decision)

    async def _run(self) -> None:
        ended = False
        while not ended:
            batch = [await self._waiting.get()]
            while len(batch) < MAX_BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            ended = None in batch
            await self._keep([one for one in batch if one is not None])

    async def _keep(self, batch: Sequence[_Waiting]) -> None:
        """Keeps the crops of a batch, then publishes its decisions, in their order."""
        kept: set[str] = set()
        try:
            probes = [await self._probe(one) for one in batch]
            async with self._db.write() as uow:
                for probe in probes:
                    if await uow.probes.add(probe):
                        kept.add(probe.event_id)
                await uow.commit()
        except StoreError as error:
            log.warning("crops of probes cannot be kept", cause=type(error).__name__)
            kept.clear()
        except Exception as error:  # noqa: BLE001 - whatever fails here, the decisions must be published
            log.error("crops of probes cannot be kept", kind=type(error).__name__)
            kept.clear()
        self._metrics.probes_not_kept.inc(len(batch) - len(kept))
        self._feed.publish(
            *(replace(one.seen.decision, kept=one.seen.decision.event_id in kept) for one in batch)
        )

    async def _probe(self, waiting: _Waiting) -> NewProbe:
        decision, seen = waiting.seen.decision, waiting.seen.description
        state = _state(decision)
        reference = await _as_reference(waiting.space, seen) if state == "unknown" else None
        png = await asyncio.to_thread(_png, seen)
        return NewProbe(
            event_id=decision.event_id,
            at=decision.at,
            space_id=decision.space_id,
            state=state,
            subject_id=None if decision.subject is None else decision.subject.subject_id,
            png=png,
            facts=facts_of(decision, seen, reference).model_dump_json().encode(),
        )


def _state(decision: Decision) -> ProbeState:
    if decision.subject is not None:
        return "named"
    return "unknown" if decision.action in ("identify", "track") else "other"


async def _as_reference(space: EmbeddingSpace, seen: Description) -> Embedding | None:
    """The template that the face would have as a reference, which later sightings are compared with; None
    if the networks fail or are busy: then the sighting belongs to nobody's cluster but its own."""
    try:
        (reference,) = await space.engine.encoder.embed(seen.crop, Role.REFERENCE)
    except Exception as error:  # noqa: BLE001 - the space may have been closed since, or be overloaded
        log.warning("a probe has no reference template", kind=type(error).__name__)
        return None
    return reference


def _png(seen: Description) -> bytes:
    """The aligned crop as PNG; blocks for about a millisecond."""
    done, png = cv2.imencode(".png", seen.crop.pixels)
    if not done:
        raise ValueError("the crop cannot be written as PNG")
    return png.tobytes()
