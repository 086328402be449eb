"""The job's side of a job's directory: sole, watched, telling (see `training.jobs.job_files`)."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training.jobs import job_files
from training.jobs.job_files import MESSAGE_CHARACTERS, Progress, Result

WATCH_S = 2.0
ORPHAN_S = 300.0
ORPHANED = 75
TELL_EVERY_S = 0.5


class CannotDo(Exception):
    """The job cannot be done, and trying again would not help. Its text is shown: no path in it."""


class Journal:
    """Tells the service how far the job is."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._told_s, self._stage = 0.0, ""
        self._untold: dict[str, Any] = {}

    @property
    def request(self) -> dict[str, Any]:
        """What the service asked for."""
        asked: dict[str, Any] = json.loads((self.directory / job_files.REQUEST).read_bytes())
        return asked

    def tell(
        self, fraction: float, stage: str, message: str = "", metrics: Mapping[str, Any] | None = None
    ) -> None:
        """A line, at most two a second unless the stage changes; metrics that came in between are in the
        next one. Raises ValueError for a NaN."""
        now = time.monotonic()
        self._untold |= metrics or {}
        if stage == self._stage and now - self._told_s < TELL_EVERY_S:
            return
        self._told_s, self._stage = now, stage
        line = Progress(fraction=fraction, stage=stage, message=message, metrics=self._untold)
        job_files.append_progress(self.directory, line)
        self._untold = {}

    def end(self, result: Result) -> None:
        job_files.write_result(self.directory, result)


def _watch(directory: Path, orphan_s: float, done: threading.Event) -> None:
    """End this process once nobody has looked after the job for `orphan_s`: its machine was given up,
    or the job was taken elsewhere. What is in the directory serves whoever goes on."""
    while not done.wait(min(WATCH_S, orphan_s / 4)):
        try:
            silent_s = time.time() - (directory / job_files.HEARTBEAT).stat().st_mtime
        except OSError:
            silent_s = float("inf")
        if silent_s > orphan_s:
            sys.stderr.write("nobody looks after this job any more\n")
            sys.stderr.flush()
            os._exit(ORPHANED)


@contextmanager
def journal(directory: Path, *, orphan_s: float = ORPHAN_S) -> Iterator[Journal | None]:
    """Work in a job's directory, alone; gives None where the result is there already.

    Another process at work here is waited for. CannotDo, and any other exception, becomes the job's
    failure; a process that is killed leaves no result.
    """
    done = threading.Event()
    with (directory / job_files.LOCK).open("a") as lock:
        threading.Thread(target=_watch, args=(directory, orphan_s, done), daemon=True).start()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield from _alone(directory)
        finally:
            # What the process does after the job is nobody's to look after.
            done.set()


def _alone(directory: Path) -> Iterator[Journal | None]:
    if job_files.has_result(directory):
        yield None
        return
    mine = Journal(directory)
    try:
        yield mine
    except CannotDo as error:
        mine.end(Result(state="failed", message=str(error)[:MESSAGE_CHARACTERS]))
        raise
    except Exception as error:
        # Its text may name paths; the log has it.
        why = f"the job's process failed ({type(error).__name__}); see the job's log"
        mine.end(Result(state="failed", message=why))
        raise
