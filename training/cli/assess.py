"""Runs the evaluation job that the service starts for POST /admin/evaluate: `python -m training assess`."""

from __future__ import annotations

from training.jobs.evaluate_job import evaluate
from training.jobs.job_directory import ORPHAN_S
from training.jobs.job_main import JobPath, Nice, OrphanSeconds, run_job
from training.jobs.request import JobRequest


def assess(directory: JobPath, orphan_s: OrphanSeconds = ORPHAN_S, nice: Nice = 0) -> None:
    """An evaluation job: labelled probes through a bundle, with curves. Started by the service."""
    run_job(directory, JobRequest, evaluate, orphan_s=orphan_s, nice=nice)
