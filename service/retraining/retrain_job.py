"""The retraining job: a process trains and leaves a bundle, which becomes a space."""

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
from service.retraining.environment import ENROLLED, SMOKE, TrainingEnvironment
from service.retraining.request import RETRAIN, Retraining
from service.spaces.admin import SpaceAdmin
from service.spaces.backfill_job import fill_space
from service.spaces.backfill_worker import BackfillWorker
from service.spaces.registry import SpaceRegistry

# The share of training, evaluation and export in the whole job; the service does the rest.
CHILD_SHARE = 0.9
BUNDLE = "bundle"
# Live requests come first on a machine that serves and trains.
NICE = "10"
LOADED_EVERY_S = 0.2


class RetrainJob:
    """Retrains, registers the bundle and, if asked to and it is better, fills and activates its space.

    `bundles`: the directory where bundles wait to be registered. `rendered`: where the `smoke` set is
    kept.
    """

    name, on_accelerator = RETRAIN, True

    def __init__(
        self,
        environment: TrainingEnvironment,
        registry: SpaceRegistry,
        admin: SpaceAdmin,
        worker: BackfillWorker,
        enrolled: EnrolledCrops,
        *,
        bundles: Path,
        rendered: Path,
    ) -> None:
        self._environment, self._registry, self._admin = environment, registry, admin
        self._worker, self._enrolled = worker, enrolled
        self._bundles, self._rendered = bundles, rendered

    async def run(self, handle: JobHandle) -> Mapping[str, Any]:
        request, actor = Retraining.of_job(handle.request), str(handle.request["actor"])
        command = [str(self._environment.python), "-m", "training", "retrain", "--nice", NICE]
        try:
            result = await run_child(
                handle, command, request=lambda: self._request_file(handle, request), share=CHILD_SHARE
            )
            return await self._register(handle, request, actor, result)
        except ServiceError as error:
            raise JobFailed(error.detail) from error

    async def _request_file(self, handle: JobHandle, request: Retraining) -> dict[str, Any]:
        """The content of request.json; writes the enrolled crops if the request asks for them."""
        directory = await asyncio.to_thread(self._environment.find_dataset, request.dataset)
        base = await active_bundle(self._registry)
        if request.dataset == SMOKE:
            directory = self._rendered
        elif request.dataset == ENROLLED:
            directory = handle.directory / PRIVATE / ENROLLED
            await self._enrolled.write(directory, base.manifest.encoder.alignment)
        return request.file(
            prepared=directory,
            facekit=self._environment.facekit if request.dataset == SMOKE else None,
            trunk=self._environment.trunk,
            base=base.root,
        )

    async def _register(
        self, handle: JobHandle, request: Retraining, actor: str, result: Result
    ) -> Mapping[str, Any]:
        """Registers the bundle, and activates its space if it is better and the request asks for that."""
        if handle.cancelled():
            raise JobCancelled
        await handle.report_progress(
            CHILD_SHARE, "registering", "the service verifies the bundle", result.metrics
        )
        name = handle.job_id.lower()
        await asyncio.to_thread(_copy_bundle, handle.directory / BUNDLE, self._bundles / name)
        try:
            view = await self._admin.register(name, actor)
        except ServiceError as error:
            raise JobFailed(
                f"{error.detail}; the bundle waits in the registry directory as {name}"
            ) from error
        await asyncio.to_thread(shutil.rmtree, self._bundles / name, ignore_errors=True)
        space_id = view.record.space_id
        metrics: dict[str, Any] = {"space_id": space_id, "activated": False}
        better, why = bool(result.metrics.get("better", False)), result.message
        if request.activate == "manual":
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
    """Waits until a space is loaded; returns the bundle of the active one. Raises BundleError."""
    active = registry.active
    while active is None:
        await asyncio.sleep(LOADED_EVERY_S)
        active = registry.active
    return await asyncio.to_thread(registry.bundles.find_by_digest, active.digest)


def _copy_bundle(made: Path, waiting: Path) -> None:
    """Copies the bundle to where it can be registered by name, whole or not at all. Raises JobFailed."""
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
