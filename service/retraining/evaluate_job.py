"""The evaluation job: a process measures the active bundle on labelled probes and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.errors import ServiceError
from service.jobs.base import JobFailed, JobHandle
from service.jobs.child import run_child
from service.matching.pipeline import FacePipeline
from service.retraining.environment import TrainingEnvironment
from service.retraining.labelled_uploads import LabelledUploads
from service.retraining.request import EVALUATE, PASSING, Evaluation
from service.retraining.retrain_job import NICE, active_bundle
from service.retraining.site_evaluation import evaluate_site, finished_metrics
from service.spaces.registry import SpaceRegistry
from service.store.database import Database


class EvaluateJob:
    """Evaluates the bundle that is active when the process starts."""

    name, on_accelerator = EVALUATE, True

    def __init__(
        self,
        environment: TrainingEnvironment,
        registry: SpaceRegistry,
        pipeline: FacePipeline,
        uploads: LabelledUploads,
        db: Database,
    ) -> None:
        self._environment, self._registry, self._pipeline = environment, registry, pipeline
        self._uploads, self._db = uploads, db

    async def run(self, handle: JobHandle) -> Mapping[str, Any]:
        if Evaluation.of_job(handle.request).by == "service":
            return await self._by_service(handle)
        command = [str(self._environment.python), "-m", "training", "assess", "--nice", NICE]
        try:
            result = await run_child(handle, command, request=lambda: self._request_file(handle))
        except ServiceError as error:
            raise JobFailed(error.detail) from error
        await handle.report_progress(1.0, "done", result.message)
        return result.metrics

    async def _by_service(self, handle: JobHandle) -> Mapping[str, Any]:
        request, space = Evaluation.of_job(handle.request), self._registry.active
        if space is None:
            raise JobFailed("no space is active")
        if (done := await asyncio.to_thread(finished_metrics, handle.directory)) is not None:
            # Killed between the report and the end of the job.
            return done
        try:
            root = await asyncio.to_thread(self._photos, handle, request.dataset)
        except ServiceError as error:
            raise JobFailed(error.detail) from error
        if root is None:
            raise JobFailed("the labelled photos are not in the data directory of this replica")
        return await evaluate_site(handle, root, request, space, self._pipeline, self._db)

    def _photos(self, handle: JobHandle, dataset: str) -> Path | None:
        if handle.request.get(PASSING):
            return self._uploads.root(dataset)
        return self._environment.find_dataset(dataset)

    async def _request_file(self, handle: JobHandle) -> dict[str, Any]:
        request = Evaluation.of_job(handle.request)
        directory = await asyncio.to_thread(self._environment.find_dataset, request.dataset)
        base = await active_bundle(self._registry)
        return request.file(prepared=directory or "", base=base.root)
