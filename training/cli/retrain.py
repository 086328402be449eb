"""Runs the retraining job that the service starts for POST /admin/retrain: `python -m training retrain`."""

from __future__ import annotations

from training.jobs.job_directory import ORPHAN_S
from training.jobs.job_main import JobPath, Nice, OrphanSeconds, run_job
from training.jobs.request import RetrainRequest
from training.jobs.retrain import retrain as run_retraining


def retrain(directory: JobPath, orphan_s: OrphanSeconds = ORPHAN_S, nice: Nice = 0) -> None:
    """A retraining job: train, compare with the active bundle, export. Started by the service."""
    run_job(directory, RetrainRequest, run_retraining, orphan_s=orphan_s, nice=nice)
