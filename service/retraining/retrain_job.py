"""A retraining job as the service sees it: a process that leaves a bundle, which becomes a space."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faces.bundle import Bundle
from service.errors import ServiceError
from service.jobs.base import JobCancelled, JobFailed, JobHandle
from service.jobs.child import run_child
from service.jobs.job_files import PRIVATE, Result
from service.retraining.enrolled_crops import EnrolledCrops
from service.retraining.request import (
    ENROLLED,
    KIND,
    SMOKE,
    Retraining,
    TrainingPlaces,
    check_dataset,
    request_of,
)
from service.spaces.admin import SpaceAdmin
from service.spaces.backfill_job import fill_space
from service.spaces.backfill_worker import BackfillWorker
from service.spaces.registry import SpaceRegistry

# The share of the whole that training, evaluation and export are; the rest is the service's own.
CHILD_SHARE = 0.9
BUNDLE = "bundle"
# Live requests come first on a machine that serves and trains.
NICE = "10"
LOADED_EVERY_S = 0.2


class RetrainKind:
    """`registry_root`: where bundles wait to be registered. `rendered`: where the smoke set is kept."""

    name, on_accelerator = KIND, True

    def __init__(
        self,
        places: TrainingPlaces,
        registry: SpaceRegistry,
        admin: SpaceAdmin,
        worker: BackfillWorker,
        enrolled: EnrolledCrops,
        *,
        registry_root: Path,
        rendered: Path,
    ) -> None:
        self._places, self._registry, self._admin = places, registry, admin
        self._worker, self._enrolled = worker, enrolled
        self._registry_root, self._rendered = registry_root, rendered

    async def run(self, handle: JobHandle) -> Mapping[str, Any]:
        asked, actor = request_of(handle.request), str(handle.request["actor"])
        command = [str(self._places.python), "-m", "training", "retrain", "--nice", NICE]
        try:
            result = await run_child(
                handle, command, request=lambda: self._request(handle, asked), share=CHILD_SHARE
            )
            return await self._serve(handle, asked, actor, result)
        except ServiceError as error:
            raise JobFailed(error.detail) from error

    async def _request(self, handle: JobHandle, asked: Retraining) -> dict[str, Any]:
        """What the process is told: the request, and where things are."""
        directory = await asyncio.to_thread(check_dataset, self._places, asked.dataset)
        base = await active_bundle(self._registry)
        if asked.dataset == SMOKE:
            directory = self._rendered
        elif asked.dataset == ENROLLED:
            directory = handle.directory / PRIVATE / ENROLLED
            await self._enrolled.write(directory, base.manifest.encoder.alignment)
        assert directory is not None  # noqa: S101 - `check_dataset` gave it for every other name
        return asked.as_dict() | {
            "prepared": str(directory.resolve()),
            "facekit": str(self._places.facekit.resolve()) if asked.dataset == SMOKE else None,
            "trunk": str(self._places.trunk.resolve()),
            "base": str(base.root.resolve()),
        }

    async def _serve(
        self, handle: JobHandle, asked: Retraining, actor: str, result: Result
    ) -> Mapping[str, Any]:
        """Register the bundle; where it is better and that was asked for, fill its space and switch."""
        if handle.cancelled():
            raise JobCancelled
        await handle.report_progress(
            CHILD_SHARE, "registering", "the service verifies the bundle", result.metrics
        )
        name = handle.job_id.lower()
        await asyncio.to_thread(_offer, handle.directory / BUNDLE, self._registry_root / name)
        try:
            view = await self._admin.register(name, actor)
        except ServiceError as error:
            raise JobFailed(
                f"{error.detail}; the bundle waits in the registry directory as {name}"
            ) from error
        await asyncio.to_thread(shutil.rmtree, self._registry_root / name, ignore_errors=True)
        space_id = view.record.space_id
        metrics: dict[str, Any] = {"space_id": space_id, "activated": False}
        better, why = bool(result.metrics.get("better", False)), result.message
        if asked.activate == "manual":
            why = f"{why}; registered: fill its space and activate it when you want to"
        elif not better:
            why = f"not activated: {why}"
        else:
            if view.record.state not in ("ready", "active"):
                view = await self._admin.backfill_within(handle.job_id, space_id, actor)
            try:
                await fill_space(handle, self._worker, self._admin, view, actor=actor, low=0.93, high=0.98)
                await handle.report_progress(0.98, "activating", "")
                await self._admin.activate(space_id, actor)
            except JobFailed as error:
                why = f"better, but not activated: {error}"
            except ServiceError as error:
                why = f"better, but not activated: {error.detail}"
            else:
                metrics["activated"] = True
                why = f"activated: {why}"
        await handle.report_progress(1.0, "done", why)
        return dict(result.metrics) | metrics | {"decision": why}


async def active_bundle(registry: SpaceRegistry) -> Bundle:
    """The bundle in service, once it is loaded. Raises BundleError."""
    active = registry.active
    while active is None:
        await asyncio.sleep(LOADED_EVERY_S)
        active = registry.active
    return await asyncio.to_thread(registry.bundles.find_by_digest, active.digest)


def _offer(made: Path, waiting: Path) -> None:
    """Put the bundle where it can be registered by name, whole or not at all. Raises JobFailed."""
    if not made.is_dir():
        raise JobFailed("the job's process left no bundle")
    if waiting.is_dir():
        return
    waiting.parent.mkdir(parents=True, exist_ok=True)
    building = waiting.with_name(f".{waiting.name}.{uuid.uuid4().hex}")
    try:
        shutil.copytree(made, building)
        building.rename(waiting)
    finally:
        shutil.rmtree(building, ignore_errors=True)
