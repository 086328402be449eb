"""A backfill as a job: it fills a space, and cancelling it retires the space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.errors import ServiceError
from service.jobs.base import JobCancelled, JobFailed, JobHandle
from service.spaces.admin import BACKFILL, SpaceAdmin
from service.spaces.backfill_worker import BackfillWorker
from service.spaces.view import SpaceView


async def fill_space(
    handle: JobHandle,
    worker: BackfillWorker,
    admin: SpaceAdmin,
    view: SpaceView,
    *,
    actor: str,
    low: float = 0.0,
    high: float = 1.0,
) -> SpaceView:
    """Fills a space that is `backfilling`, with the job's progress from `low` to `high`. Returns it then.

    Retires the space if the job is cancelled. Raises JobFailed if the space cannot be completed,
    JobCancelled, LeaseLost, StoreError, and SpaceNotFound if it is deleted meanwhile.
    """
    if view.record.state != "backfilling":
        return view
    space_id = view.record.space_id
    if not handle.cancelled():
        await worker.fill(handle, space_id, low=low, high=high)
        view = await admin.one(space_id)
    if view.record.state == "backfilling":
        if handle.cancelled():
            await admin.retire(space_id, actor)
            raise JobCancelled
        raise JobFailed(f"the space is not complete: {view.message or 'its filling ended early'}")
    return view


class BackfillJob:
    """The request: `space_id`, and `actor`, the id of the key that asked."""

    name, on_accelerator = BACKFILL, False

    def __init__(self, worker: BackfillWorker, admin: SpaceAdmin) -> None:
        self._worker, self._admin = worker, admin

    async def run(self, handle: JobHandle) -> Mapping[str, Any]:
        space_id, actor = str(handle.request["space_id"]), str(handle.request["actor"])
        try:
            view = await self._admin.one(space_id)
            view = await fill_space(handle, self._worker, self._admin, view, actor=actor)
        except ServiceError as error:
            raise JobFailed(error.detail) from error
        if view.record.state not in ("ready", "active"):
            raise JobFailed(f"the space was {view.record.state} meanwhile")
        await handle.report_progress(1.0, "ready", f"{view.templates} templates, nothing missing")
        return {"space_id": space_id, "templates": view.templates}
