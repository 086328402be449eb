"""Routes of /enroll/bulk: enrol the photos of an archive as a job, watch it, fetch its report."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from faces.types import Spectrum
from service.api.archive_body import BODY, check_archive_type, received
from service.api.deps import Operator, StateDep
from service.api.guard import BULK_PROGRESS, GuardedRoute, StreamRoute
from service.api.image_options import turn_of
from service.api.jobs import JOB_ID
from service.api.problems import problem_docs
from service.api.schemas.jobs import JobOut, SubmittedOut
from service.api.schemas.terms import ConsentDay, Expiry
from service.bulk.erasure import forget_gone
from service.bulk.job import WORK
from service.bulk.journal import JOURNAL, Journal
from service.bulk.report import LIST, PAGE, list_lines, page_parts
from service.bulk.request import BULK, BulkRequest
from service.enrolment.types import Duplicates
from service.errors import (
    BodyTooLarge,
    Draining,
    Forbidden,
    InvalidArchive,
    InvalidParameter,
    JobNotFound,
    MalformedRequest,
    NotReady,
    Overloaded,
    RateLimited,
    StorageFull,
    Unauthorized,
    UnsupportedMediaType,
)
from service.jobs.child import job_directory
from service.settings import TurnChoice
from service.store.job_records import JobRecord

UPLOAD_PATH = "/enroll/bulk"
COMMON = (Unauthorized, Forbidden, InvalidParameter, RateLimited, NotReady, Draining)
FILES = {"html": (PAGE, "text/html"), "csv": (LIST, "text/csv")}
A_REPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the report, as a file to save",
        "content": {kind: {"schema": {"type": "string"}} for _, kind in FILES.values()},
    }
}

upload_router = APIRouter(tags=["subjects"], route_class=StreamRoute)
router = APIRouter(tags=["subjects"], route_class=GuardedRoute)


@upload_router.post(
    UPLOAD_PATH,
    status_code=202,
    responses=problem_docs(
        *(*COMMON, MalformedRequest, BodyTooLarge, UnsupportedMediaType),
        *(InvalidArchive, StorageFull, Overloaded),
    ),
    openapi_extra={"requestBody": {"required": True, "content": BODY}},
)
async def enroll_bulk(
    request: Request,
    operator: Operator,
    state: StateDep,
    spectrum: Annotated[Literal["vis", "nir"], Query(description="of photos without their own")] = "vis",
    duplicates: Annotated[
        Literal["refuse", "report", "ignore"] | None,
        Query(description="a face that another subject has; by default as the service is set"),
    ] = None,
    allow_mismatch: Annotated[bool, Query()] = False,
    turn: Annotated[TurnChoice | None, Query()] = None,
    consent_date: Annotated[ConsentDay | None, Query(description="of every subject of the archive")] = None,
    expires_at: Annotated[Expiry | None, Query(description="of every subject of the archive")] = None,
) -> SubmittedOut:
    """A zip or tar as the body: `<subject>/<photo>`, or a `manifest.csv` with the columns subject, path and
    if wanted display_name, metadata and spectrum.

    The archive is checked before the answer, and its photos are enrolled by a job, which erases them.
    """
    state.space()
    check_archive_type(request)
    upload = await received(request, state.bulk_uploads.add)
    asked = BulkRequest(
        upload=upload,
        actor=operator.key_id,
        spectrum=Spectrum(spectrum),
        duplicates=Duplicates(duplicates or state.settings.duplicates),
        allow_mismatch=allow_mismatch,
        turn=turn_of(turn),
        consent_date=consent_date,
        expires_at=expires_at,
    )
    try:
        job_id = await state.jobs.submit(BULK, asked.params(), actor=operator.key_id)
    except BaseException:
        await state.bulk_uploads.erase(upload)
        raise
    return SubmittedOut(job_id=job_id)


async def bulk_job(job_id: str, _operator: Operator, state: StateDep) -> JobRecord:
    """The bulk enrolment of the path. Raises JobNotFound."""
    if not JOB_ID.fullmatch(job_id) or (found := await state.jobs.get(job_id)).kind != BULK:
        raise JobNotFound("there is no such bulk enrolment")
    return found


AskedBulk = Annotated[JobRecord, Depends(bulk_job)]


@router.get(BULK_PROGRESS, responses=problem_docs(*COMMON, JobNotFound))
async def get_bulk(job: AskedBulk) -> JobOut:
    """How far a bulk enrolment is: an operator's view of its job."""
    return JobOut.of(job)


@router.get(
    f"{BULK_PROGRESS}/report",
    response_class=StreamingResponse,
    responses=A_REPORT | problem_docs(*COMMON, JobNotFound),
)
async def get_bulk_report(
    job: AskedBulk,
    state: StateDep,
    file_format: Annotated[Literal["html", "csv"], Query(alias="format")] = "html",
) -> StreamingResponse:
    """Each refused file with its reason and a small picture, and conflicts; kept for a day after the end.
    Whoever was erased since is in it no more."""
    name, kind = FILES[file_format]
    directory = job_directory(state.settings.data_dir) / job.job_id / WORK
    found = await asyncio.to_thread(_ended_journal, directory)
    if found is None:
        raise JobNotFound(
            "there is no report: the job has not ended, ended more than a day ago, or ran on another replica"
        )
    journal, ended_at = found
    try:
        await forget_gone(state.db, journal)
    except BaseException:
        journal.close()
        raise

    def parts() -> Iterator[str]:
        with journal:
            yield from (
                list_lines(journal)
                if file_format == "csv"
                else page_parts(journal, title="Bulk enrolment", made_at=ended_at.isoformat())
            )

    saved = {"content-disposition": f'attachment; filename="{job.job_id}-{name}"'}
    return StreamingResponse(parts(), media_type=kind, headers=saved)


def _ended_journal(directory: Path) -> tuple[Journal, datetime] | None:
    """The journal of a job that has ended, and when; None if there is none. It blocks."""
    if not (directory / JOURNAL).is_file():
        return None
    journal = Journal(directory, None)
    if (ended_at := journal.ended_at) is None:
        journal.close()
        return None
    return journal, ended_at
