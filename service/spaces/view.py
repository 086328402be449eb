"""A space as an administrator sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.crops import NOT_KEPT
from service.store.backfills import BackfillRecord
from service.store.job_records import FINAL
from service.store.records import BundleRecord, SpaceRecord
from service.store.unit import UnitOfWork


@dataclass(frozen=True, slots=True)
class SpaceView:
    """`missing`: samples without a template in the space. `backfill`: the last report, None without any.

    `message`: what stands in the way of the space, for people.
    """

    record: SpaceRecord
    bundle: BundleRecord | None
    templates: int
    missing: int
    backfill: Mapping[str, Any] | None
    message: str


async def space_views(
    uow: UnitOfWork, records: Sequence[SpaceRecord], load_errors: Mapping[str, str]
) -> list[SpaceView]:
    """`load_errors`: by space, why this process cannot load it."""
    serving, backfills = await uow.spaces.newest_bundles(), await uow.backfills.all()
    views = []
    for record in records:
        space_id, bundle = record.space_id, serving.get(record.space_id)
        report, message = None, ""
        if (backfill := backfills.get(space_id)) is not None:
            running, message = await _progress(uow, backfill)
            report = {"running": running, **backfill.report}
        missing = await uow.templates.count_missing(space_id)
        alignment = bundle.metrics.get("alignment") if bundle else None
        lacking = await uow.crops.count_unembeddable(space_id, alignment) if missing and alignment else 0
        if lacking:
            message = f"{lacking} samples have neither a template nor a kept crop: {NOT_KEPT}"
        else:
            message = load_errors.get(space_id) or message
        templates = await uow.templates.count(space_id)
        views.append(SpaceView(record, bundle, templates, missing, report, message))
    return views


async def _progress(uow: UnitOfWork, backfill: BackfillRecord) -> tuple[bool, str]:
    """Whether a job fills the space or will, and what stands in its way."""
    message = str(backfill.report.get("message", ""))
    if not backfill.wanted:
        return False, message
    job = None if backfill.job_id is None else await uow.jobs.get(backfill.job_id)
    if job is None:
        return False, message or "no job fills the space: ask for a backfill"
    if job.state in FINAL:
        return False, job.message
    return True, message
