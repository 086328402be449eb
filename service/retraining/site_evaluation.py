"""Evaluates labelled photos with the service's own pipeline: no training extra, no other process.

It takes one photo at a time, so that requests keep the networks. The job's row holds figures and thresholds,
and no name of a file or a subject; the report with names lies in the job's directory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.errors import Draining, RetryLater
from service.evaluation.described import Describer, Reason, Template, describe_all, without_repeats
from service.evaluation.kept import KeptTemplates
from service.evaluation.labelled import LabelError, LabelledPhoto, read_labelled
from service.evaluation.local import PipelineDescriber
from service.evaluation.measure import NothingToCompare, Setting, measure
from service.evaluation.report import facts_of, write_report
from service.jobs.base import JobCancelled, JobFailed, JobHandle
from service.matching.pipeline import FacePipeline
from service.spaces.space import EmbeddingSpace

REPORT = "report"
DESCRIBING = 0.95
# Parts of the facts that name files and subjects.
NAMED = ("lost", "otherwise_seen", "mistakes")


class _Patient:
    """Waits where the service is at its limit: its requests come first."""

    def __init__(self, inner: PipelineDescriber) -> None:
        self._inner = inner

    @property
    def space_id(self) -> str:
        return self._inner.space_id

    async def describe(self, photo: LabelledPhoto, data: bytes) -> Template | Reason:
        """Raises Draining if the space is closed or the service ends."""
        while True:
            try:
                return await self._inner.describe(photo, data)
            except Draining:
                raise
            except RetryLater as error:
                await asyncio.sleep(error.retry_after_s)


async def evaluate_site(
    handle: JobHandle, root: Path, space: EmbeddingSpace, pipeline: FacePipeline
) -> Mapping[str, Any]:
    """Returns the metrics of the job. Raises JobFailed, JobCancelled, LeaseLost, StoreError."""
    try:
        photos = await asyncio.to_thread(read_labelled, root)
        kept = await asyncio.to_thread(KeptTemplates, handle.directory, space.space_id)
    except (LabelError, OSError) as error:
        said = str(error) if isinstance(error, LabelError) else "the job's directory cannot be written"
        raise JobFailed(said) from error
    done = False
    try:
        found = await _described(handle, photos, _Patient(PipelineDescriber(pipeline, space)), kept)
        setting = Setting(
            space_id=space.space_id,
            bundle=f"{space.manifest.name} {space.manifest.version}",
            gallery_templates=space.gallery.size,
            default_fmr=space.calibration.default_fmr,
            in_force=lambda camera: {p.pair: p for p in space.thresholds.of(camera).calibration.pairs},
            fmr_points=space.bundle_calibration.common,
        )
        await handle.report_progress(DESCRIBING, "comparing")
        made_at = datetime.now(UTC).isoformat(timespec="seconds")
        evaluation = await asyncio.to_thread(measure, without_repeats(found), setting)
        out = handle.directory / REPORT
        await asyncio.to_thread(
            lambda: write_report(
                out, evaluation, made_at=made_at, title="POST /admin/evaluate", picture=lambda _name: None
            )
        )
        done = True
    except NothingToCompare as error:
        raise JobFailed(str(error)) from error
    except Draining as error:
        raise JobFailed("the active space changed or the service ended meanwhile: evaluate again") from error
    finally:
        kept.close(remove=done)
    facts = facts_of(evaluation, made_at=made_at, title="POST /admin/evaluate")
    await handle.report_progress(1.0, "done", "; ".join(facts["coverage"]))
    return {name: value for name, value in facts.items() if name not in NAMED}


async def _described(
    handle: JobHandle, photos: tuple[LabelledPhoto, ...], describer: Describer, kept: KeptTemplates
) -> list[Any]:
    found = []
    async for one in describe_all(photos, describer, kept, at_once=1):
        if handle.cancelled():
            raise JobCancelled
        found.append(one)
        share = len(found) / len(photos)
        await handle.report_progress(DESCRIBING * share, "describing", f"photo {len(found)} of {len(photos)}")
    return found
