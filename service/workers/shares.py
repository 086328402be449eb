"""What one of several workers may take, so that all of them together take what the settings say."""

from __future__ import annotations

import os
from typing import Any

from service.settings import Settings


def cores_of_each(workers: int) -> int:
    """Threads that one worker computes with; together they are no more than the cores, if those suffice."""
    return max(1, (os.cpu_count() or 1) // workers)


def of_worker(settings: Settings, index: int) -> Settings:
    """The settings of worker `index`, counted from 0.

    Limits of the machine are divided, without a rest that would exceed them. Jobs are run by the first worker
    alone, so that two retrainings do not run at once. Rates stay whole: all workers count them together
    (`buckets`), because a caller with one connection must get all of its own.
    """
    n = settings.workers
    if n == 1:
        return settings
    change: dict[str, Any] = {
        "intra_op_threads": settings.intra_op_threads or cores_of_each(n),
        "decode_workers": max(1, settings.decode_workers // n),
        "max_requests": _part(settings.max_requests, n, index),
        "max_event_streams": _part(settings.max_event_streams, n, index),
        "max_connections": _part(settings.max_connections, n, index),
        "max_body_memory_bytes": max(settings.max_body_bytes, settings.max_body_memory_bytes // n),
        "max_work_pixels": max(settings.max_image_pixels, settings.max_work_pixels // n),
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
    for name in ("max_requests", "max_event_streams", "max_connections"):
        if 0 < (limit := getattr(settings, name)) < settings.workers:
            return (
                f"HALFLIGHT_{name.upper()}={limit} is less than HALFLIGHT_WORKERS={settings.workers}: a"
                " worker without a place would refuse everybody who comes to it"
            )
    return None


def _part(whole: int, workers: int, index: int) -> int:
    """The parts of all workers are the whole together. 0 stays 0, whatever it means."""
    return whole // workers + (index < whole % workers)
