"""Everything one running service holds. Made by the lifespan, reached through `deps`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from service.comparison import Comparer
from service.enrolment import Enroller
from service.errors import Draining, NotReady
from service.intake import Intake
from service.jobs.datasets import UploadedSets
from service.jobs.evaluation import Evaluator
from service.jobs.queue import JobQueue
from service.jobs.retrain import Retrainer
from service.jobs.runner import JobRunner
from service.keys import KeyRing
from service.limits import Admission, RateLimiter
from service.settings import Settings
from service.space_admin import SpaceAdmin
from service.space_filler import SpaceFiller
from service.spaces import EmbeddingSpace, SpaceRegistry
from service.store.database import Database
from service.telemetry import Metrics


@dataclass(slots=True, eq=False, kw_only=True)
class State:
    """The parts, wired. `failure` is why loading ended without an active space."""

    settings: Settings
    db: Database
    keys: KeyRing
    registry: SpaceRegistry
    filler: SpaceFiller
    spaces: SpaceAdmin
    jobs: JobQueue
    runner: JobRunner
    retrainer: Retrainer
    evaluator: Evaluator
    uploads: UploadedSets
    intake: Intake
    enroller: Enroller
    comparer: Comparer
    admission: Admission
    limiter: RateLimiter
    metrics: Metrics
    draining: bool = False
    failure: BaseException | None = None
    loading: asyncio.Task[None] | None = None

    def space(self) -> EmbeddingSpace:
        """The active space. Raises Draining, NotReady."""
        if self.draining:
            raise Draining("the service is shutting down", retry_after_s=5)
        space = self.registry.active
        if space is None:
            raise NotReady("the models are still loading", retry_after_s=2)
        return space
