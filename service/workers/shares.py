"""What one of several workers may take, so that all of them together take what the settings say."""

from __future__ import annotations

import math
import os
from typing import Any

from service.settings import Settings


def cores_of_each(workers: int) -> int:
    """Threads that one worker computes with; together they are no more than the cores, if those suffice."""
    return max(1, (os.cpu_count() or 1) // workers)


def of_worker(settings: Settings, index: int) -> Settings:
    """The settings of worker `index`, counted from 0.

    Limits of the machine are divided. Jobs are run by the first worker alone, so that two retrainings do not
    run at once. The rate of a key is counted by each worker for itself: a caller with one connection must get
    all of it.
    """
    n = settings.workers
    if n == 1:
        return settings
    change: dict[str, Any] = {
        "intra_op_threads": settings.intra_op_threads or cores_of_each(n),
        "decode_workers": max(1, settings.decode_workers // n),
        "max_requests": _part(settings.max_requests, n),
        "max_event_streams": _part(settings.max_event_streams, n),
        "max_connections": _part(settings.max_connections, n),
        "max_body_memory_bytes": max(settings.max_body_bytes, settings.max_body_memory_bytes // n),
        "max_work_pixels": max(settings.max_image_pixels, settings.max_work_pixels // n),
        "failed_logins_per_s": settings.failed_logins_per_s / n,
        "failed_logins_burst": _part(settings.failed_logins_burst, n),
        "run_jobs": settings.run_jobs and index == 0,
    }
    return settings.model_copy(update=change)


def refused(settings: Settings) -> str | None:
    """Why several workers cannot serve these settings; None if they can."""
    if settings.workers > 1 and settings.doors_file is not None:
        return (
            "HALFLIGHT_DOORS_FILE needs HALFLIGHT_WORKERS=1: a door counts the frames that one process"
            " judges, and one process alone holds its outputs"
        )
    return None


def _part(whole: int, workers: int) -> int:
    """0 stays 0, whatever it means."""
    return math.ceil(whole / workers)
