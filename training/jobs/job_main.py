"""What every command that works on a job of the service has around its work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from training.jobs.job_directory import CannotDo, Journal, journal
from training.jobs.job_files import Result

JobDirectory = Annotated[Path, typer.Argument(metavar="JOBDIR", help="with a request.json")]
OrphanSeconds = Annotated[float, typer.Option(help="end when nobody looked after the job for so long")]
Nice = Annotated[int, typer.Option(help="yield to other processes, as nice(1) does", min=0, max=19)]
Asked = TypeVar("Asked", bound=BaseModel)


def run_job(
    directory: Path,
    request: type[Asked],
    work: Callable[[Asked, Journal], Result],
    *,
    orphan_s: float,
    nice: int,
) -> None:
    """Do the work in the job's directory, unless its result is there already. Raises typer.Exit where the
    job cannot be done; the result says why."""
    with suppress(OSError):
        os.nice(nice)
    try:
        with journal(directory, orphan_s=orphan_s) as mine:
            if mine is not None:
                mine.tell(0.0, "data", "the process has started")
                mine.end(work(_read(request, mine), mine))
    except CannotDo as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from error


def _read(request: type[Asked], mine: Journal) -> Asked:
    try:
        return request.model_validate(mine.request)
    except (OSError, ValueError) as error:
        raise CannotDo(
            "the job's request cannot be read: service and training are of other versions"
        ) from error
