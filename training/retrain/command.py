"""`python -m training retrain JOBDIR`: what the service starts for POST /admin/retrain."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from training.retrain.journal import ORPHAN_S, CannotDo, Journal, journal
from training.retrain.request import Request
from training.retrain.run import retrain as steps


def retrain(
    directory: Annotated[Path, typer.Argument(metavar="JOBDIR", help="with a request.json")],
    orphan_s: Annotated[
        float, typer.Option(help="end when nobody looked after the job for so long")
    ] = ORPHAN_S,
    nice: Annotated[int, typer.Option(help="yield to other processes, as nice(1) does", min=0, max=19)] = 0,
) -> None:
    """A retraining job: train, compare with the active bundle, export. Started by the service."""
    with suppress(OSError):
        os.nice(nice)
    try:
        with journal(directory, orphan_s=orphan_s) as mine:
            if mine is not None:
                mine.tell(0.0, "data", "the process has started")
                mine.end(steps(_request(mine), mine))
    except CannotDo as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from error


def _request(mine: Journal) -> Request:
    try:
        return Request.model_validate(mine.request)
    except (OSError, ValueError, ValidationError) as error:
        raise CannotDo(
            "the job's request cannot be read: service and training are of other versions"
        ) from error
