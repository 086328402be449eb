"""Routes of /admin/datasets: upload, list and erase archives of labelled photos for training."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect

from service.api.deps import Admin, StateDep
from service.api.guard import StreamRoute
from service.api.problems import problem_docs
from service.api.schemas.datasets import DatasetOut, DatasetsOut
from service.errors import (
    BodyTooLarge,
    DatasetNotFound,
    Draining,
    Forbidden,
    InvalidArchive,
    InvalidParameter,
    JobRunning,
    MalformedRequest,
    NotReady,
    Overloaded,
    RateLimited,
    StorageFull,
    Unauthorized,
    UnsupportedMediaType,
)

UPLOAD_PATH = "/admin/datasets"
ARCHIVE_TYPES = (
    "application/zip",
    "application/x-tar",
    "application/gzip",
    "application/x-bzip2",
    "application/x-xz",
    "application/octet-stream",
)
COMMON = (Unauthorized, Forbidden, InvalidParameter, RateLimited, NotReady, Draining)

router = APIRouter(prefix=UPLOAD_PATH, tags=["administration"], route_class=StreamRoute)


BODY = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ARCHIVE_TYPES}


@router.post(
    "",
    status_code=201,
    responses=problem_docs(
        *COMMON,
        MalformedRequest,
        BodyTooLarge,
        UnsupportedMediaType,
        InvalidArchive,
        StorageFull,
        Overloaded,
    ),
    openapi_extra={"requestBody": {"required": True, "content": BODY}},
)
async def upload_dataset(request: Request, admin: Admin, state: StateDep) -> DatasetOut:
    """A zip or tar (plain, gzip, bzip2, xz) as the body: `<subject>/{vis,nir}/<picture>`, or `manifest.csv`.

    It goes to the disk as it comes. The answer's id is a `dataset` for `/admin/retrain`.
    """
    state.space()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ARCHIVE_TYPES:
        raise UnsupportedMediaType("send a zip or tar archive as the body, with its own media type")
    declared = request.headers.get("content-length", "0")
    try:
        made = await state.uploads.add(
            request.stream(), int(declared) if declared.isdigit() else 0, actor=admin.key_id
        )
    except ClientDisconnect as error:
        raise MalformedRequest("the archive ended early") from error
    return DatasetOut.of(made)


@router.get("", responses=problem_docs(*COMMON))
async def list_datasets(_admin: Admin, state: StateDep) -> DatasetsOut:
    """Uploaded data sets, oldest first."""
    return DatasetsOut(
        datasets=[DatasetOut.of(found) for found in await state.uploads.all()], next_cursor=None
    )


@router.delete("/{dataset_id}", responses=problem_docs(*COMMON, DatasetNotFound, JobRunning))
async def erase_dataset(dataset_id: str, admin: Admin, state: StateDep) -> DatasetOut:
    """Erase an uploaded data set's pictures."""
    return DatasetOut.of(await state.uploads.erase(dataset_id, actor=admin.key_id))
