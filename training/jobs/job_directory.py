"""Works in a job's directory: exclusively, watched by the service, with reports of progress.

`training.jobs.job_files` defines the files.
"""

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
REPORT_EVERY_S = 0.5


class JobFailed(Exception):
    """The job cannot be done, and another attempt would not help. Users see the text: no path in it."""


class JobDirectory:
    """The directory of a job that this process works on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reported_s, self._stage = 0.0, ""
        self._unreported: dict[str, Any] = {}

    @property
    def request(self) -> dict[str, Any]:
        """What the service asks for, as it was written."""
        request: dict[str, Any] = json.loads((self.path / job_files.REQUEST).read_bytes())
        return request

    def report_progress(
        self, fraction: float, stage: str, message: str = "", metrics: Mapping[str, Any] | None = None
    ) -> None:
        """Appends a line of progress, at most two a second unless the stage changes.

        Metrics of a call that wrote nothing are in the next line.
        """
        now = time.monotonic()
        self._unreported |= metrics or {}
        if stage == self._stage and now - self._reported_s < REPORT_EVERY_S:
            return
        self._reported_s, self._stage = now, stage
        line = Progress(fraction=fraction, stage=stage, message=message, metrics=self._unreported)
        job_files.append_progress(self.path, line)
        self._unreported = {}

    def write_result(self, result: Result) -> None:
        """Ends the job."""
        job_files.write_result(self.path, result)


def _watch(path: Path, orphan_s: float, done: threading.Event) -> None:
    """Ends this process once the heartbeat is older than `orphan_s`.

    Then the machine was given up, or the job was taken elsewhere. Whoever goes on uses what is in the
    directory.
    """
    while not done.wait(min(WATCH_S, orphan_s / 4)):
        try:
            silent_s = time.time() - (path / job_files.HEARTBEAT).stat().st_mtime
        except OSError:
            silent_s = float("inf")
        if silent_s > orphan_s:
            sys.stderr.write("nobody looks after this job any more\n")
            sys.stderr.flush()
            os._exit(ORPHANED)


@contextmanager
def open_job(path: Path, *, orphan_s: float = ORPHAN_S) -> Iterator[JobDirectory | None]:
    """Takes the lock of a job's directory; yields None if the result is there already.

    Waits for another process that works there. Writes JobFailed and any other exception as the job's
    failure; a process that is killed leaves no result.
    """
    done = threading.Event()
    with (path / job_files.LOCK).open("a") as lock:
        threading.Thread(target=_watch, args=(path, orphan_s, done), daemon=True).start()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield from _locked(path)
        finally:
            # Nobody watches what the process does after the job.
            done.set()


def _locked(path: Path) -> Iterator[JobDirectory | None]:
    if job_files.has_result(path):
        yield None
        return
    job = JobDirectory(path)
    try:
        yield job
    except JobFailed as error:
        job.write_result(Result(state="failed", message=str(error)[:MESSAGE_CHARACTERS]))
        raise
    except Exception as error:
        # The exception's text may name paths; the log has it.
        reason = f"the job's process failed ({type(error).__name__}); see the job's log"
        job.write_result(Result(state="failed", message=reason))
        raise
