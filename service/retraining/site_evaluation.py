"""Evaluates labelled photos with the service's own pipeline: no training extra, no other process.

It takes one photo at a time, so that requests keep the networks. The job's row holds figures and thresholds,
and no name of a file or a subject; the report with names lies in the job's directory for a day, or until a
subject that it names is erased.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.errors import Draining, RetryLater
from service.evaluation.described import Describer, Reason, Template, describe_all, without_repeats
from service.evaluation.kept import KeptTemplates
from service.evaluation.labelled import LabelError, LabelledPhoto, read_labelled, with_camera
from service.evaluation.local import PipelineDescriber
from service.evaluation.measure import NothingToCompare, Setting, measure
from service.evaluation.report import FACTS, facts_of, write_report
from service.evaluation.thumbnails import picture_of
from service.jobs.base import JobCancelled, JobFailed, JobHandle
from service.jobs.job_files import PRIVATE
from service.matching.pipeline import FacePipeline
from service.retraining.enrolled_references import enrolled_references
from service.retraining.report_erasure import REPORT, write_with_people
from service.retraining.request import Evaluation
from service.spaces.space import EmbeddingSpace
from service.store.database import Database

TITLE = "POST /admin/evaluate"
DESCRIBING = 0.95
# Parts of the facts that name files and subjects.
NAMED = ("lost", "otherwise_seen", "mistakes")


def finished_metrics(job_directory: Path) -> Mapping[str, Any] | None:
    """The metrics of a job whose report is written; None if it is not. Raises OSError."""
    try:
        facts = json.loads((job_directory / REPORT / FACTS).read_bytes())
    except FileNotFoundError:
        return None
    return _nameless(facts)


def _nameless(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in NAMED}


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
    handle: JobHandle,
    root: Path,
    asked: Evaluation,
    space: EmbeddingSpace,
    pipeline: FacePipeline,
    db: Database,
) -> Mapping[str, Any]:
    """Returns the metrics of the job. Raises JobFailed, JobCancelled, LeaseLost, StoreError."""
    try:
        listed = await asyncio.to_thread(lambda: read_labelled(root, needs=asked.needs))
        photos = with_camera([one for one in listed if one.role in asked.needs], asked.camera)
        # The runner removes this part of the directory when the job ends, whatever its outcome.
        kept = await asyncio.to_thread(KeptTemplates, handle.directory / PRIVATE, space.space_id)
    except (LabelError, OSError) as error:
        said = str(error) if isinstance(error, LabelError) else "the job's directory cannot be written"
        raise JobFailed(said) from error
    done = False
    try:
        found = await _described(handle, photos, _Patient(PipelineDescriber(pipeline, space)), kept)
        if asked.references == "gallery":
            subjects = {photo.subject for photo in photos}
            found += await enrolled_references(db, space, subjects)
        setting = Setting(
            space_id=space.space_id,
            bundle=f"{space.manifest.name} {space.manifest.version}",
            gallery_templates=space.gallery.size,
            default_fmr=space.calibration.default_fmr,
            in_force=lambda camera: {p.pair: p for p in space.thresholds.of(camera).calibration.pairs},
            against=asked.references,
            fmr_points=space.bundle_calibration.common,
        )
        await handle.report_progress(DESCRIBING, "comparing")
        made_at = datetime.now(UTC).isoformat(timespec="seconds")
        evaluation = await asyncio.to_thread(measure, without_repeats(found), setting)
        out = handle.directory / REPORT
        shown = {one.photo.name: one for one in found} if asked.pictures else {}
        await write_with_people(
            db,
            out,
            {photo.subject for photo in photos},
            lambda: write_report(
                out,
                evaluation,
                made_at=made_at,
                title=TITLE,
                picture=lambda name: picture_of(shown.get(name)),
            ),
        )
        done = True
    except NothingToCompare as error:
        raise JobFailed(str(error)) from error
    except OSError as error:
        raise JobFailed("the disk takes no report") from error
    except Draining as error:
        raise JobFailed("the active space changed or the service ended meanwhile: evaluate again") from error
    finally:
        kept.close(remove=done)
    facts = facts_of(evaluation, made_at=made_at, title=TITLE)
    await handle.report_progress(1.0, "done", "; ".join(facts["coverage"]))
    return _nameless(facts)


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
