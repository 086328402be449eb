"""Judges decisions at doors, one frame after the other, and opens: audited first, once, and in time.

Frames join a short queue in memory, so that no answer waits for a door. Nothing of it is stored: a service
that is killed, or ends, opens nothing afterwards. An opening is written to the audit log before the output
is asked; if it cannot be written, or its deadline has passed, the door stays closed.

Whether a door that may be switched is live, the transaction of each frame reads, so that replicas agree.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from service.doors.judging import Explained, Presented, Verdict, judge
from service.doors.ledger import DoorLedger, audited
from service.doors.outputs.base import Output, OutputFailed
from service.doors.rules import Door, DoorsFile
from service.doors.votes import VoteBook
from service.live.decisions import Decision, new_event_id
from service.live.door_events import DoorEvent, Outcome
from service.store.errors import StoreError
from service.telemetry import Metrics

MAX_WAITING = 256
LAST_KEPT = 20
# How soon an output follows a switch that another replica was told of; a frame brings it at once.
LOOK_S = 5.0

log = structlog.get_logger("halflight.doors")


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """The decisions of one image, or of a track. `at_s`: monotonic, when they were made, or, of a track,
    when it was seen: what a camera's box sends late must not open late."""

    decisions: tuple[Decision, ...]
    at_s: float


@dataclass(frozen=True, slots=True)
class Told:
    """One outcome, and each rule with its conditions, as far as they were asked."""

    event: DoorEvent
    explained: tuple[Explained, ...] = ()


@dataclass(slots=True, eq=False)
class DoorState:
    """One door while the service runs. `live`: it is no dry run; `connected`: its output is started. `last`:
    its latest outcomes, newest first."""

    name: str
    door: Door
    output: Output
    book: VoteBook
    live: bool = False
    connected: bool = False
    opened_s: float | None = None
    last: deque[Told] = field(default_factory=lambda: deque(maxlen=LAST_KEPT))
    connecting: asyncio.Lock = field(default_factory=asyncio.Lock)


class DoorKeeper:
    """Every door of the file. Without a file it does nothing. Belongs to one event loop."""

    def __init__(
        self,
        file: DoorsFile | None,
        outputs: Mapping[str, Output],
        ledger: DoorLedger,
        publish: Callable[[DoorEvent], None],
        metrics: Metrics,
    ) -> None:
        self._file, self._ledger, self._publish, self._metrics = file, ledger, publish, metrics
        doors = {} if file is None else file.doors
        self.doors = {
            name: DoorState(name, door, outputs[name], VoteBook(door), live=door.dry_run is False)
            for name, door in doors.items()
        }
        self._switchable = [one for one in self.doors.values() if one.door.switchable]
        self._waiting: asyncio.Queue[_Frame] = asyncio.Queue(MAX_WAITING)
        self._worker: asyncio.Task[None] | None = None
        self._pulses: set[asyncio.Task[None]] = set()

    @property
    def file(self) -> DoorsFile | None:
        return self._file

    async def start(self) -> None:
        """Starts the outputs of doors that are live, and the worker. Raises StoreError."""
        if self._file is None:
            return
        # A door that the file made a dry run for good meanwhile is none that somebody had switched.
        if fixed := [one.name for one in self.doors.values() if not one.door.switchable]:
            await self._ledger.forget(fixed)
        await self._look()
        for state in self.doors.values():
            if state.live:
                await self._connect(state)
            else:
                log.warning("this door is a dry run: it opens nothing", door=state.name)
        self._worker = asyncio.create_task(self._run(), name="doors")

    async def close(self) -> None:
        """Forgets what waits, lets openings that are under way end, and stops the outputs."""
        if self._worker is None:
            return
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        await asyncio.gather(*self._pulses, return_exceptions=True)
        for state in self.doors.values():
            state.live = False
            await self._connect(state)

    async def switch(self, state: DoorState, *, live: bool, actor: str) -> None:
        """Makes a door that may be switched live, or a dry run again; audited. Raises StoreError."""
        async with self._ledger.page() as page:
            await page.switch(state.name, live=live, actor=actor)
            await page.commit()
        state.live = live
        state.book.forget()
        await self._connect(state)
        log.warning("a door was switched", door=state.name, dry_run=not live)

    async def _look(self) -> None:
        """Asks which doors are live. What cannot be asked is a dry run."""
        if not self._switchable:
            return
        try:
            live = await self._ledger.live()
        except StoreError:
            live = frozenset()
        for state in self._switchable:
            state.live = state.name in live

    async def _connect(self, state: DoorState) -> None:
        """Starts the output of a door that is live, and stops that of a dry run."""
        async with state.connecting:
            if state.live and not state.connected:
                await state.output.start()
            elif not state.live and state.connected:
                await state.output.stop()
            state.connected = state.live

    def offer(self, *decisions: Decision) -> None:
        """Takes the decisions of one frame. Where the queue is full they open nothing."""
        watching = [one for one in decisions if self._doors_of(one.camera)]
        if not watching or self._worker is None:
            return
        try:
            self._waiting.put_nowait(_Frame(tuple(watching), time.monotonic() - _age_s(watching[0])))
        except asyncio.QueueFull:
            for one in watching:
                for state in self._doors_of(one.camera):
                    self._say(state, _event(state, one, None, "failed", "too_busy"))

    def _doors_of(self, camera: str | None) -> list[DoorState]:
        return [state for state in self.doors.values() if camera in state.door.cameras]

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_S if self._switchable else None):
                    frame = await self._waiting.get()
            except TimeoutError:
                await self._look()
                for state in self._switchable:
                    await self._connect(state)
                continue
            for state in self._doors_of(frame.decisions[0].camera):
                try:
                    await self._at_door(state, frame)
                except Exception as error:  # noqa: BLE001 - whatever fails here, the next frame must be judged
                    log.error("a door could not judge a frame", door=state.name, kind=type(error).__name__)

    async def _at_door(self, state: DoorState, frame: _Frame) -> None:
        """Judges one frame at one door, and opens it. The deadline runs from the decision on."""
        deadline_s = frame.at_s + state.door.deadline_ms / 1000
        judged: list[tuple[Told, Presented]] = []
        before_s = state.opened_s
        try:
            async with self._ledger.page() as page:
                if state.door.switchable:
                    state.live = state.name in await page.live()
                now = await page.now()
                seen = [await page.presented(one) for one in frame.decisions]
                state.book.add(seen[0].camera, seen, frame.at_s)
                for one, person in zip(frame.decisions, seen, strict=True):
                    told = self._judged(state, one, person, now, frame.at_s)
                    await page.write(told.event, one.actor)
                    judged.append((told, person))
                await page.commit()
            await self._connect(state)
        except StoreError:
            # What nobody could write down opens nothing; the metrics and the feed of this process say so.
            state.opened_s = before_s
            state.book.forget()
            for one in frame.decisions:
                self._say(state, _event(state, one, None, "failed", "audit_unavailable"))
            return
        for told, person in judged:
            self._say(state, told.event, told.explained)
            if told.event.outcome == "opening":
                pulse = asyncio.create_task(self._open(state, told, person, deadline_s), name="door")
                self._pulses.add(pulse)
                pulse.add_done_callback(self._pulses.discard)

    def _judged(
        self, state: DoorState, decision: Decision, seen: Presented, now: datetime | None, at_s: float
    ) -> Told:
        """The verdict about one person as an event; claims the opening, so that no other one follows soon."""
        verdict = self.verdict(state, seen, now, at_s)
        event = self._of_verdict(state, decision, seen, verdict, at_s)
        return Told(event, verdict.explained)

    def _of_verdict(
        self, state: DoorState, decision: Decision, seen: Presented, verdict: Verdict, at_s: float
    ) -> DoorEvent:
        if not verdict.allowed:
            return _event(state, decision, verdict.rule, "denied", verdict.reason, known=seen.known)
        now_s = time.monotonic()
        if now_s - at_s >= state.door.deadline_ms / 1000:
            return _event(state, decision, verdict.rule, "failed", "too_late")
        if state.opened_s is not None and now_s - state.opened_s < state.door.pause_ms / 1000:
            return _event(state, decision, verdict.rule, "denied", "just_opened")
        state.opened_s = now_s
        state.book.forget()
        outcome: Outcome = "opening" if state.live else "would_open"
        return _event(state, decision, verdict.rule, outcome, "allowed")

    def verdict(self, state: DoorState, seen: Presented, now: datetime | None, at_s: float) -> Verdict:
        """What the rules of a door say of somebody, with the frames that were counted until now."""
        groups = {} if self._file is None else self._file.groups
        return judge(state.door, groups, seen, now, lambda rule: state.book.agreement(rule, seen, at_s))

    async def _open(self, state: DoorState, told: Told, person: Presented, deadline_s: float) -> None:
        """Asks the output once, unless the deadline has passed or the door was switched meanwhile."""
        event = told.event
        outcome: Outcome = "opened"
        reason = event.reason
        left_s = deadline_s - time.monotonic()
        try:
            if left_s <= 0:
                raise OutputFailed("too_late")
            if not state.live:
                raise OutputFailed("switched")
            async with asyncio.timeout(left_s):
                await state.output.open(person.metadata, left_s)
        except OutputFailed as error:
            outcome, reason = "failed", error.reason
        except TimeoutError:
            outcome, reason = "failed", "output_too_slow"
        except Exception as error:  # noqa: BLE001 - an output of any kind may fail in any way
            log.error("the output of a door failed", door=state.name, kind=type(error).__name__)
            outcome, reason = "failed", "output_failed"
        ended = replace(event, event_id=new_event_id(), at=datetime.now(UTC), outcome=outcome, reason=reason)
        self._say(state, ended, told.explained)
        try:
            await self._ledger.write(ended)
        except StoreError:
            log.error("the outcome of a door cannot be written", **audited(ended))

    def _say(self, state: DoorState, event: DoorEvent, explained: tuple[Explained, ...] = ()) -> None:
        self._metrics.door_outcomes.labels(state.name, event.outcome, event.reason).inc()
        state.last.appendleft(Told(event, explained))
        self._publish(event)


def _age_s(decision: Decision) -> float:
    """How long before the decision a track was seen; a clock that is ahead makes nobody younger."""
    seen = decision.track
    return 0.0 if seen is None else max(0.0, (decision.at - seen.seen_at).total_seconds())


def _event(
    state: DoorState,
    decision: Decision,
    rule: str | None,
    outcome: Outcome,
    reason: str,
    *,
    known: bool = True,
) -> DoorEvent:
    """`known`: whether the subject is still enrolled; of others an event says nothing."""
    return DoorEvent(
        event_id=new_event_id(),
        at=datetime.now(UTC),
        door=state.name,
        outcome=outcome,
        reason=reason,
        rule=rule,
        subject=decision.subject if known and decision.decision == "match" else None,
        camera=decision.camera or "",
        decision_id=decision.event_id,
        dry_run=not state.live,
        liveness=decision.liveness,
    )
