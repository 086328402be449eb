"""Routes of /admin/retrain, /admin/evaluate and /admin/jobs: start, watch and cancel jobs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from service.api.deps import Admin, StateDep
from service.api.guard import GuardedRoute
from service.api.problems import problem_docs
from service.api.schemas.jobs import EvaluateIn, JobEventOut, JobOut, JobsOut, RetrainIn, SubmittedOut
from service.errors import (
    Draining,
    Forbidden,
    InvalidParameter,
    JobNotFound,
    JobRunning,
    MalformedRequest,
    NotReady,
    RateLimited,
    TrainingUnavailable,
    Unauthorized,
)
from service.store.errors import StoreError
from service.store.job_records import FINAL, JobRecord

EVENTS_EVERY_S = 0.5
JOB_ID = re.compile(r"[A-Za-z0-9-]{1,36}")
COMMON = (Unauthorized, Forbidden, InvalidParameter, RateLimited, NotReady, Draining)

router = APIRouter(prefix="/admin", tags=["administration"], route_class=GuardedRoute)


@router.post(
    "/retrain",
    status_code=202,
    responses=problem_docs(*COMMON, MalformedRequest, JobRunning, TrainingUnavailable),
)
async def retrain(asked: RetrainIn, admin: Admin, state: StateDep) -> SubmittedOut:
    """Train on a data set, evaluate against the active bundle, export, register the new space."""
    state.space()
    return SubmittedOut(job_id=await state.training_jobs.retrain(asked, actor=admin.key_id))


@router.post(
    "/evaluate",
    status_code=202,
    responses=problem_docs(*COMMON, MalformedRequest, JobRunning, TrainingUnavailable),
)
async def evaluate(asked: EvaluateIn, admin: Admin, state: StateDep) -> SubmittedOut:
    """Labelled probes through the active bundle: the job's metrics are rates, curves and thresholds."""
    state.space()
    return SubmittedOut(job_id=await state.training_jobs.evaluate(asked, actor=admin.key_id))


@router.get("/jobs", responses=problem_docs(*COMMON))
async def list_jobs(
    _admin: Admin,
    state: StateDep,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> JobsOut:
    """Jobs, newest first; `next_cursor` leads to the next page, null after the last."""
    if cursor is not None and not JOB_ID.fullmatch(cursor):
        raise InvalidParameter("`cursor` is not one this service gave")
    page = await state.jobs.page(cursor, limit + 1)
    more = len(page) > limit
    return JobsOut(
        jobs=[JobOut.of(job) for job in page[:limit]], next_cursor=page[limit - 1].job_id if more else None
    )


async def asked_job(job_id: str, _admin: Admin, state: StateDep) -> JobRecord:
    """Returns the job of the path. Raises JobNotFound before a response starts."""
    if not JOB_ID.fullmatch(job_id):
        raise JobNotFound("there is no such job")
    return await state.jobs.get(job_id)


AskedJob = Annotated[JobRecord, Depends(asked_job)]


@router.get("/jobs/{job_id}", responses=problem_docs(*COMMON, JobNotFound))
async def get_job(job: AskedJob) -> JobOut:
    """One job as it is now."""
    return JobOut.of(job)


async def _last_seen(last_event_id: Annotated[str | None, Header()] = None) -> int:
    """Returns the number of the last event that a reconnecting client has seen, 0 for a new client."""
    if last_event_id is None or not last_event_id.strip():
        return 0
    if not re.fullmatch(r"[0-9]{1,9}", last_event_id.strip()):
        raise InvalidParameter("`Last-Event-ID` is not one this service gave")
    return int(last_event_id)


@router.get(
    "/jobs/{job_id}/events",
    response_class=EventSourceResponse,
    responses=problem_docs(*COMMON, JobNotFound),
)
async def watch_job(
    job: AskedJob, state: StateDep, seen: Annotated[int, Depends(_last_seen)]
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: `progress` for each change, `end` for the last one, which ends the stream."""
    while not state.draining:
        try:
            events = await state.jobs.events(job.job_id, seen)
            # Read after the events, so that an ended job has no further ones.
            ended = not events and (await state.jobs.get(job.job_id)).state in FINAL
        except StoreError:
            # The client reconnects with the number of the last event that it saw.
            return
        for event in events:
            seen, last = event.seq, event.state in FINAL
            data = JobEventOut.of(job.job_id, event).model_dump(mode="json")
            yield ServerSentEvent(data=data, event="end" if last else "progress", id=str(seen))
            if last:
                return
        if ended and not await state.jobs.events(job.job_id, seen, 1):
            return
        if not events:
            await asyncio.sleep(EVENTS_EVERY_S)


@router.post("/jobs/{job_id}/cancel", status_code=202, responses=problem_docs(*COMMON, JobNotFound))
async def cancel_job(job: AskedJob, admin: Admin, state: StateDep) -> JobOut:
    """Ask for the end of a job: at once where it waits; one that is over stays as it is."""
    return JobOut.of(await state.jobs.cancel(job.job_id, actor=admin.key_id))
