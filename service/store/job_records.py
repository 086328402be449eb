"""Defines the records of the job queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
FINAL: tuple[JobState, ...] = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job. `process`: the operating system process that does the work, if it has one of its own."""

    job_id: str
    kind: str
    request: Mapping[str, Any]
    state: JobState
    progress: float
    stage: str
    message: str
    metrics: Mapping[str, Any]
    lease_owner: str | None
    cancel_requested: bool
    attempts: int
    process: Mapping[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class JobEvent:
    """A job after one change; `seq` counts the changes of the job from 1."""

    seq: int
    at: datetime
    state: JobState
    progress: float
    stage: str
    message: str
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Claim:
    """A job taken under a lease. `interrupted`: its last runner died without releasing it."""

    job: JobRecord
    interrupted: bool
