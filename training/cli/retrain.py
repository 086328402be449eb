"""`python -m training retrain JOBDIR`: what the service starts for POST /admin/retrain."""

from __future__ import annotations

from training.jobs.job_directory import ORPHAN_S
from training.jobs.job_main import JobDirectory, Nice, OrphanSeconds, run_job
from training.jobs.request import Request
from training.jobs.retrain import retrain as steps


def retrain(directory: JobDirectory, orphan_s: OrphanSeconds = ORPHAN_S, nice: Nice = 0) -> None:
    """A retraining job: train, compare with the active bundle, export. Started by the service."""
    run_job(directory, Request, steps, orphan_s=orphan_s, nice=nice)
