"""Routes of /admin/evaluate that take a site's labelled photos: upload them as a job, fetch its report."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse

from service.api.archive_body import BODY, check_archive_type, received
from service.api.deps import Admin, StateDep
from service.api.guard import GuardedRoute, StreamRoute
from service.api.jobs import JOB_ID
from service.api.problems import problem_docs
from service.api.schemas.jobs import SubmittedOut
from service.errors import (
    BodyTooLarge,
    Draining,
    Forbidden,
    InvalidArchive,
    InvalidParameter,
    JobNotFound,
    JobRunning,
    MalformedRequest,
    NotReady,
    Overloaded,
    RateLimited,
    StorageFull,
    Unauthorized,
    UnsupportedMediaType,
)
from service.jobs.child import job_directory
from service.retraining.report_erasure import report_page
from service.retraining.request import EVALUATE, Evaluation, References
from service.spaces.threshold_table import CameraName

COMMON = (Unauthorized, Forbidden, InvalidParameter, RateLimited, NotReady, Draining)
A_REPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the report, as a file to save",
        "content": {"text/html": {"schema": {"type": "string"}}},
    }
}

upload_router = APIRouter(prefix="/admin/evaluate", tags=["administration"], route_class=StreamRoute)
router = APIRouter(prefix="/admin/evaluate", tags=["administration"], route_class=GuardedRoute)


@upload_router.post(
    "/upload",
    status_code=202,
    responses=problem_docs(
        *(*COMMON, MalformedRequest, BodyTooLarge, UnsupportedMediaType, JobRunning),
        *(InvalidArchive, StorageFull, Overloaded),
    ),
    openapi_extra={"requestBody": {"required": True, "content": BODY}},
)
async def evaluate_upload(
    request: Request,
    admin: Admin,
    state: StateDep,
    camera: Annotated[CameraName | None, Query(description="of probes in no camera's folder")] = None,
    pictures: Annotated[
        bool, Query(description="show failed photos and the worst mistakes in the report")
    ] = False,
    references: Annotated[
        References, Query(description="what probes are compared with: the archive's own, or the gallery")
    ] = "set",
) -> SubmittedOut:
    """A zip or tar as the body: `<subject>/references/*`, `<subject>/probes/<camera>/*`, or `manifest.csv`.

    The service measures them with its own pipeline, as `/admin/evaluate` does with `"by": "service"`. With
    `references=gallery` the folders are named by the ids of subjects, and need no references. The archive is
    checked before the answer. The job erases the photos when it ends, whatever its outcome.
    """
    state.space()
    check_archive_type(request)
    asked = Evaluation(
        dataset="upload", by="service", camera=camera, pictures=pictures, references=references
    )
    await state.training_jobs.check_no_evaluation()
    upload = await received(request, partial(state.labelled_uploads.add, needs=asked.needs))
    try:
        asked = asked.model_copy(update={"dataset": upload})
        return SubmittedOut(job_id=await state.training_jobs.evaluate_upload(asked, actor=admin.key_id))
    except BaseException:
        await state.labelled_uploads.erase(upload)
        raise


@router.get(
    "/{job_id}/report",
    response_class=FileResponse,
    responses=A_REPORT | problem_docs(*COMMON, JobNotFound),
)
async def get_evaluation_report(job_id: str, _admin: Admin, state: StateDep) -> FileResponse:
    """The page that an evaluation by the service wrote, with names of files; kept for a day after its end, or
    until a subject that it names is erased."""
    if not JOB_ID.fullmatch(job_id) or (await state.jobs.get(job_id)).kind != EVALUATE:
        raise JobNotFound("there is no such evaluation")
    path = report_page(job_directory(state.settings.data_dir) / job_id)
    if not await asyncio.to_thread(path.is_file):
        raise JobNotFound(
            "there is no report: the job has not ended, ended more than a day ago, ran on another replica,"
            " was measured by the training package, or named a subject that was erased since"
        )
    return FileResponse(path, media_type="text/html", filename=f"{job_id}-report.html")
