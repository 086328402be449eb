"""Wire types of /admin/jobs, /admin/retrain and /admin/evaluate."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from service.api.schemas.base import Wire
from service.retraining.request import Evaluation, Retraining
from service.store.job_records import JobEvent, JobRecord, JobState


class JobOut(Wire):
    """`progress`: 0 to 1. `metrics`: what the kind of job measures, so far or in the end."""

    job_id: str
    kind: str
    request: dict[str, Any]
    state: JobState
    progress: Annotated[float, Field(ge=0, le=1)]
    stage: str
    message: str
    metrics: dict[str, Any]
    cancel_requested: bool
    created_at: str
    started_at: str | None
    ended_at: str | None

    @classmethod
    def of(cls, job: JobRecord) -> JobOut:
        return cls(
            job_id=job.job_id,
            kind=job.kind,
            request=dict(job.request),
            state=job.state,
            progress=job.progress,
            stage=job.stage,
            message=job.message,
            metrics=dict(job.metrics),
            cancel_requested=job.cancel_requested,
            created_at=job.created_at.isoformat(),
            started_at=None if job.started_at is None else job.started_at.isoformat(),
            ended_at=None if job.ended_at is None else job.ended_at.isoformat(),
        )


class JobsOut(Wire):
    jobs: list[JobOut]
    next_cursor: str | None


class SubmittedOut(Wire):
    job_id: str


class JobEventOut(Wire):
    """The job after one change."""

    job_id: str
    at: str
    state: JobState
    progress: Annotated[float, Field(ge=0, le=1)]
    stage: str
    message: str
    metrics: dict[str, Any]

    @classmethod
    def of(cls, job_id: str, event: JobEvent) -> JobEventOut:
        return cls(
            job_id=job_id,
            at=event.at.isoformat(),
            state=event.state,
            progress=event.progress,
            stage=event.stage,
            message=event.message,
            metrics=dict(event.metrics),
        )


class RetrainIn(Retraining):
    """One of `iterations`, `epochs` and `minutes` at most; without any, the preset's own length.

    `dataset`: a prepared set's directory below `HALFLIGHT_DATASETS`, the id of an uploaded set, `enrolled`
    or `smoke`.
    """


class EvaluateIn(Evaluation):
    """`dataset`: the id of an uploaded set, or a directory below `HALFLIGHT_DATASETS`. `seed`: of draws.

    `by`: `training` measures in a process of the training package; `service` with this service's pipeline,
    and suggests thresholds by camera that `POST /admin/thresholds` takes. It alone knows `camera`, of probes
    in no camera's folder, and `pictures`: the report shows failed photos and the worst mistakes.
    """
