"""Evaluation of the active bundle on labelled probes: a process measures, and nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from service.errors import InvalidParameter, ServiceError
from service.jobs.base import JobFailed, JobHandle
from service.jobs.child import run_child
from service.jobs.queue import JobQueue
from service.retraining.request import ENROLLED, SMOKE, TrainingPlaces, check_dataset, check_training
from service.retraining.retrain_job import NICE, active_bundle
from service.spaces.registry import SpaceRegistry

KIND = "evaluate"


class Evaluator:
    """Checks and queues evaluations."""

    def __init__(self, queue: JobQueue, places: TrainingPlaces) -> None:
        self._queue, self._places = queue, places

    async def submit(self, dataset: str, seed: int, *, actor: str) -> str:
        """Queue the job; its id. Raises InvalidParameter, TrainingUnavailable, JobRunning, StoreError."""
        if dataset in (SMOKE, ENROLLED):
            raise InvalidParameter(
                "`dataset`: an evaluation needs labelled probes: upload them, or name a set"
            )
        await asyncio.to_thread(check_dataset, self._places, dataset)
        await asyncio.to_thread(check_training, self._places)
        return await self._queue.submit(KIND, {"dataset": dataset, "seed": seed}, actor=actor, sole=True)


class EvaluateKind:
    """The request: `dataset` and `seed`. The bundle is the one that is active when the process starts."""

    name, on_accelerator = KIND, True

    def __init__(self, places: TrainingPlaces, registry: SpaceRegistry) -> None:
        self._places, self._registry = places, registry

    async def run(self, handle: JobHandle) -> Mapping[str, Any]:
        command = [str(self._places.python), "-m", "training", "assess", "--nice", NICE]
        try:
            result = await run_child(handle, command, request=lambda: self._request(handle))
        except ServiceError as error:
            raise JobFailed(error.detail) from error
        await handle.report_progress(1.0, "done", result.message)
        return result.metrics

    async def _request(self, handle: JobHandle) -> dict[str, Any]:
        dataset = str(handle.request["dataset"])
        directory = await asyncio.to_thread(check_dataset, self._places, dataset)
        base = await active_bundle(self._registry)
        return {
            "dataset": dataset,
            "seed": int(handle.request["seed"]),
            "prepared": str(directory.resolve()) if directory else "",
            "base": str(base.root.resolve()),
        }
