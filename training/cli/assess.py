"""`python -m training assess JOBDIR`: the service starts it for POST /admin/evaluate."""

from __future__ import annotations

from training.jobs.evaluate_job import AssessRequest, measured
from training.jobs.job_directory import ORPHAN_S
from training.jobs.job_main import JobDirectory, Nice, OrphanSeconds, run_job


def assess(directory: JobDirectory, orphan_s: OrphanSeconds = ORPHAN_S, nice: Nice = 0) -> None:
    """An evaluation job: labelled probes through a bundle, with curves. Started by the service."""
    run_job(directory, AssessRequest, measured, orphan_s=orphan_s, nice=nice)
