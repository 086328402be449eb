"""Routes of /admin/datasets: upload, list and erase archives of labelled photos for training."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request

from service.api.archive_body import BODY, check_archive_type, received
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
COMMON = (Unauthorized, Forbidden, InvalidParameter, RateLimited, NotReady, Draining)

router = APIRouter(prefix=UPLOAD_PATH, tags=["administration"], route_class=StreamRoute)


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
    check_archive_type(request)
    made = await received(request, partial(state.uploads.add, actor=admin.key_id))
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
