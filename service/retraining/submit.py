"""Use cases: queue a retraining or an evaluation."""

from __future__ import annotations

import asyncio

from service.errors import InvalidParameter
from service.jobs.queue import JobQueue
from service.retraining.environment import ENROLLED, SMOKE, TrainingEnvironment
from service.retraining.request import EVALUATE, RETRAIN, Evaluation, Retraining


class TrainingJobs:
    """Checks and queues training jobs; one unfinished job of each kind is allowed."""

    def __init__(self, queue: JobQueue, environment: TrainingEnvironment) -> None:
        self._queue, self._environment = queue, environment

    async def retrain(self, request: Retraining, *, actor: str) -> str:
        """Returns the job's id. Raises InvalidParameter, TrainingUnavailable, JobRunning, StoreError."""
        await asyncio.to_thread(self._environment.find_dataset, request.dataset)
        await asyncio.to_thread(self._environment.check_interpreter)
        self._environment.check_trunk()
        params = request.params() | {"actor": actor}
        return await self._queue.submit(RETRAIN, params, actor=actor, sole=True)

    async def evaluate(self, request: Evaluation, *, actor: str) -> str:
        """Returns the job's id. Raises InvalidParameter, TrainingUnavailable, JobRunning, StoreError."""
        if request.dataset in (SMOKE, ENROLLED):
            raise InvalidParameter(
                "`dataset`: an evaluation needs labelled probes: upload them, or name a set"
            )
        await asyncio.to_thread(self._environment.find_dataset, request.dataset)
        if request.by == "training":
            await asyncio.to_thread(self._environment.check_interpreter)
        return await self._queue.submit(EVALUATE, request.params(), actor=actor, sole=True)
