"""Use cases: queue a retraining or an evaluation."""

from __future__ import annotations

import asyncio

from service.errors import InvalidParameter, JobRunning
from service.jobs.queue import JobQueue
from service.retraining.environment import ENROLLED, SMOKE, TrainingEnvironment
from service.retraining.request import EVALUATE, PASSING, RETRAIN, Evaluation, Retraining
from service.store.job_records import FINAL

RECENT_JOBS = 1000


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

    async def check_no_evaluation(self) -> None:
        """Raises JobRunning, StoreError: nobody uploads photos for an evaluation that may not start."""
        for job in await self._queue.page(None, RECENT_JOBS):
            if job.kind == EVALUATE and job.state not in FINAL:
                raise JobRunning("an evaluate job waits or runs already: cancel it, or wait for its end")

    async def evaluate_upload(self, request: Evaluation, *, actor: str) -> str:
        """Evaluates photos that were uploaded for this alone; they are erased when the job ends.

        Returns the job's id. Raises JobRunning, StoreError, and the upload is then still there.
        """
        return await self._queue.submit(EVALUATE, request.params() | {PASSING: True}, actor=actor, sole=True)
