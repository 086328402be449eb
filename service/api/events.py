"""Routes of /events: decisions of this process as they are made, their crops, and corrections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from service.api.deps import Investigator, Operator, SpaceDep, StateDep, still_admitted
from service.api.guard import GuardedRoute
from service.api.problems import problem_docs
from service.api.schemas.base import Wire
from service.api.schemas.doors import DoorEventOut
from service.api.schemas.events import (
    CorrectedOut,
    CorrectIn,
    DecisionOut,
    MissedOut,
    StreamEndOut,
    StreamStartOut,
)
from service.errors import (
    AuditUnavailable,
    Draining,
    EventNotFound,
    Forbidden,
    InvalidParameter,
    MalformedRequest,
    NotReady,
    Overloaded,
    ProbesNotKept,
    RateLimited,
    SubjectNotFound,
    Unauthorized,
)
from service.live.decisions import EVENT_ID
from service.live.door_events import DoorEvent
from service.live.feed import LiveEvent, Page
from service.state import State
from service.store.errors import StoreError
from service.subjects.validation import validate_subject_id

# How soon an idle stream notices that the service drains or that its key is gone.
LOOK_EVERY_S = 1.0
PAGE = 50
# A decision that is older may name a subject that has been erased since, and its crop with it: the database
# knows.
FRESH = timedelta(seconds=2)
RETRY_MS = 2000
COMMON = (Unauthorized, Forbidden, InvalidParameter, RateLimited, NotReady, Draining, AuditUnavailable)

router = APIRouter(tags=["events"], route_class=GuardedRoute)


@dataclass(frozen=True, slots=True)
class _Start:
    """The place before the first decision to send. `known`: whether this process gave the place.

    `follow`: whether the reader waits for decisions to come.
    """

    seq: int
    known: bool = True
    follow: bool = True


async def _start(
    state: StateDep,
    last_event_id: Annotated[str | None, Header()] = None,
    recent: Annotated[
        int,
        Query(ge=0, le=1000, description="so many of the decisions before, at most"),
    ] = 0,
    follow: Annotated[
        bool, Query(description="false: end after the decisions that are kept, and wait for none")
    ] = True,
) -> _Start:
    """Where a reader begins: after what it saw, or with the last `recent` decisions."""
    if last_event_id is None or not last_event_id.strip():
        return _Start(state.decisions.before_last(recent), follow=follow)
    seq, known = state.decisions.resume(last_event_id)
    return _Start(seq, known, follow)


async def _place_of_stream(state: StateDep) -> AsyncIterator[None]:
    """Holds a place among the streams until this one has ended. Raises Draining, Overloaded."""
    if state.draining:
        raise Draining("the service is shutting down", retry_after_s=5)
    with state.streams.admitted():
        yield


@router.get(
    "/events",
    response_class=EventSourceResponse,
    responses=problem_docs(*COMMON, Overloaded),
    dependencies=[Depends(_place_of_stream)],
)
async def watch_decisions(
    request: Request, _caller: Investigator, state: StateDep, start: Annotated[_Start, Depends(_start)]
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events of every decision that this process makes: `start`, then `decision` for each, and
    `door` for what doors did or denied.

    `missed` says how many a reader did not get who was too slow or away for too long; `end` says why the
    stream ends. Several replicas: each sends its own decisions.
    """
    feed, seq = state.decisions, start.seq
    opening = StreamStartOut(kept=feed.size, keep_probes_hours=state.settings.keep_probes_hours)
    yield _event("start", opening, feed.name(seq), retry=RETRY_MS)
    if not start.known:
        yield _event("missed", MissedOut(count=None), feed.name(seq))
    while (why := await _over(request, state)) is None:
        page = feed.after(seq, PAGE)
        if page.missed:
            seq += page.missed
            yield _event("missed", MissedOut(count=page.missed), feed.name(seq))
        try:
            shown = await _shown(state, page)
        except StoreError:
            why = StreamEndOut(reason="unavailable")
            break
        for placed, out in zip(page.placed, shown, strict=True):
            seq = placed.seq
            kind = "door" if isinstance(out, DoorEventOut) else "decision"
            yield _event(kind, out, feed.name(seq))
        if page.placed:
            continue
        if not start.follow:
            why = StreamEndOut(reason="all_sent")
            break
        await feed.wait(LOOK_EVERY_S)
    # A client that was told why it ended still knows where to go on.
    yield _event("end", why, feed.name(seq))


def _event(kind: str, data: Wire, name: str, retry: int | None = None) -> ServerSentEvent:
    return ServerSentEvent(data=data.model_dump(mode="json"), event=kind, id=name, retry=retry)


async def _over(request: Request, state: State) -> StreamEndOut | None:
    """Why the stream must end now; None if it goes on."""
    if state.draining:
        return StreamEndOut(reason="draining")
    try:
        admitted = await still_admitted(request)
    except StoreError:
        return StreamEndOut(reason="unavailable")
    return None if admitted else StreamEndOut(reason="unauthorized")


async def _shown(state: State, page: Page) -> Sequence[DecisionOut | DoorEventOut]:
    """What readers see of a page: no subject that is there no more, and no crop. Raises StoreError."""
    before = datetime.now(UTC) - FRESH
    old = [placed.event for placed in page.placed if placed.event.at < before]
    named = {one.subject.subject_id for one in old if one.subject is not None}
    gone, lost = named, {one.event_id for one in old if not isinstance(one, DoorEvent) and one.kept}
    if gone or lost:
        async with state.db.read() as uow:
            gone = {subject_id for subject_id in named if await uow.subjects.get(subject_id) is None}
            if lost:
                lost -= await uow.probes.there(sorted(lost), state.review.since())
    return [_out(placed.event, gone, lost) for placed in page.placed]


def _out(event: LiveEvent, gone: set[str], lost: set[str]) -> DecisionOut | DoorEventOut:
    """The event without a subject or a crop that is there no more. `lost`: decisions, by their ids."""
    if event.subject is not None and event.subject.subject_id in gone:
        event = replace(event, subject=None)
    if isinstance(event, DoorEvent):
        return DoorEventOut.of(event)
    return DecisionOut.of(replace(event, kept=False) if event.event_id in lost else event)


AskedEvent = Annotated[str, Path(pattern=f"^{EVENT_ID.pattern}$")]


@router.get(
    "/events/{event_id}/crop",
    response_class=Response,
    responses={
        **problem_docs(*COMMON, ProbesNotKept, EventNotFound),
        200: {"content": {"image/png": {}}, "description": "the aligned crop"},
    },
)
async def crop_of_event(event_id: AskedEvent, _operator: Operator, state: StateDep) -> Response:
    """The face of a decision, aligned, while it is kept (`HALFLIGHT_KEEP_PROBES_HOURS`)."""
    return Response(await state.review.crop(event_id), media_type="image/png")


@router.post(
    "/events/{event_id}/correct",
    responses=problem_docs(
        *COMMON, MalformedRequest, ProbesNotKept, EventNotFound, SubjectNotFound, Overloaded
    ),
)
async def correct_event(
    event_id: AskedEvent, asked: CorrectIn, operator: Operator, state: StateDep, space: SpaceDep
) -> CorrectedOut:
    """Not this subject: kept as feedback in the audit log. The face joins the unknown ones, unless
    `subject_id` says who it is."""
    actual = None if asked.subject_id is None else validate_subject_id(asked.subject_id)
    seen = await state.review.correct(space, event_id, actual, operator.key_id)
    return CorrectedOut(event_id=event_id, was=seen.facts.subject_id, now=actual)
