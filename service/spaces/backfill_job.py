"""Filling a space, as a job: the service's own filler does it, this watches and tells."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from service.errors import ServiceError
from service.jobs.base import JobCancelled, JobFailed, JobHandle
from service.spaces.admin import SpaceAdmin, SpaceView

KIND = "backfill"
LOOK_EVERY_S = 0.5


async def fill(
    handle: JobHandle, admin: SpaceAdmin, view: SpaceView, *, actor: str, low: float = 0.0, high: float = 1.0
) -> SpaceView:
    """Wait until the space is filled, telling progress from `low` to `high`; the space as it is then.

    Cancelling the job retires the space: nobody fills it any more. Raises JobFailed where something is
    missing for good, JobCancelled, LeaseLost, StoreError.
    """
    space_id = view.record.space_id
    while view.record.state == "backfilling":
        if handle.cancelled():
            await admin.retire(space_id, actor)
            raise JobCancelled
        report = view.backfill or {}
        if not report.get("running", False):
            raise JobFailed(f"the space is not complete: {view.message or 'its filling ended early'}")
        fraction = float(report.get("fraction", 0.0))
        told = f"{view.templates} templates, {view.missing} missing"
        await handle.report_progress(low + (high - low) * fraction, "backfilling", told)
        await asyncio.sleep(LOOK_EVERY_S)
        view = await admin.one(space_id)
    return view


class BackfillKind:
    """The request: `space_id`, and `actor` who asked."""

    name, on_accelerator = KIND, False

    def __init__(self, admin: SpaceAdmin) -> None:
        self._admin = admin

    async def run(self, handle: JobHandle) -> Mapping[str, Any]:
        space_id, actor = str(handle.request["space_id"]), str(handle.request["actor"])
        try:
            view = await fill(handle, self._admin, await self._admin.one(space_id), actor=actor)
        except ServiceError as error:
            raise JobFailed(error.detail) from error
        if view.record.state not in ("ready", "active"):
            raise JobFailed(f"the space was {view.record.state} meanwhile")
        await handle.report_progress(1.0, "ready", f"{view.templates} templates, nothing missing")
        return {"space_id": space_id, "templates": view.templates}
