"""Runs the work of a job's process: options, request, result, exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from training.jobs.job_directory import JobDirectory, JobFailed, open_job
from training.jobs.job_files import Result
from training.jobs.request import JobRequest

JobPath = Annotated[Path, typer.Argument(metavar="JOBDIR", help="with a request.json")]
OrphanSeconds = Annotated[float, typer.Option(help="end when nobody looked after the job for so long")]
Nice = Annotated[int, typer.Option(help="yield to other processes, as nice(1) does", min=0, max=19)]
RequestT = TypeVar("RequestT", bound=JobRequest)


def run_job(
    path: Path,
    model: type[RequestT],
    work: Callable[[RequestT, JobDirectory], Result],
    *,
    orphan_s: float,
    nice: int,
) -> None:
    """Does the work of a job and writes its result, unless the result is there already.

    Raises typer.Exit if the job cannot be done; the result says why.
    """
    with suppress(OSError):
        os.nice(nice)
    try:
        with open_job(path, orphan_s=orphan_s) as job:
            if job is not None:
                job.report_progress(0.0, "data", "the process has started")
                job.write_result(work(_read(model, job), job))
    except JobFailed as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from error


def _read(model: type[RequestT], job: JobDirectory) -> RequestT:
    try:
        return model.model_validate(job.request)
    except (OSError, ValueError) as error:
        raise JobFailed(
            "the job's request cannot be read: service and training are of other versions"
        ) from error
