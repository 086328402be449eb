"""Jobs that run as a process of their own: starts, watches, takes over and ends the process.

The process has a session of its own and outlives the service. It reports through the files of
`service.jobs.job_files`, and ends by itself if no runner has touched the heartbeat for `ORPHAN_S`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from faces.files import write_json
from service.jobs import job_files
from service.jobs.base import JobCancelled, JobFailed, JobHandle, JobInterrupted
from service.jobs.job_files import Result
from service.jobs.process import spawn
from service.settings import SECRETS

POLL_S = 0.25
GRACE_S = 10.0
ORPHAN_S = 300.0
MakeRequest = Callable[[], Awaitable[Mapping[str, Any]]]
# Variables that the process must not see: every secret setting, and keys of other services.
PRIVATE = (
    *SECRETS,
    "HALFLIGHT_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "PGPASSWORD",
)


async def run_child(
    handle: JobHandle,
    command: Sequence[str],
    *,
    request: MakeRequest | None = None,
    share: float = 1.0,
) -> Result:
    """Returns the result of the job's process: of the one that runs already, or of a new one.

    `command`: the program; it gets the job's directory as its last argument. `request`: makes the
    content of `request.json`, by default the job's own request; called only if a process is started.
    `share`: the part of the whole job, 0 to 1, that the progress of the process covers.
    Raises JobFailed if the process reports a failure, JobInterrupted if it died, JobCancelled,
    LeaseLost, StoreError.
    """
    directory = handle.directory
    offset = 0
    if handle.process is not None and handle.process.alive():
        # The runner before this one has reported every line but the last.
        lines, offset = job_files.read_progress(directory, 0)
        await _report(handle, lines[-1:], share)
    elif job_files.read_result(directory) is None:
        if handle.process is not None:
            handle.process.kill_group(signal.SIGKILL)
            await handle.set_process(None)
            raise JobInterrupted("the job's process died while nobody watched")
        content = handle.request if request is None else await request()
        offset = await _start(handle, command, content)
    process = handle.process
    while process is not None and process.alive():
        if handle.cancelled():
            await asyncio.to_thread(process.end, grace_s=GRACE_S)
            raise JobCancelled
        lines, offset = job_files.read_progress(directory, offset)
        await _report(handle, lines, share)
        await asyncio.sleep(POLL_S)
    code = None
    if process is not None:
        # The processes that it started end with it.
        process.kill_group(signal.SIGKILL)
        code = await asyncio.to_thread(process.reap)
    lines, _ = job_files.read_progress(directory, offset)
    await _report(handle, lines, share)
    result = job_files.read_result(directory)
    await handle.set_process(None)
    if result is None:
        raise JobInterrupted(f"the job's process {_exit_reason(code)}")
    if result.state == "failed":
        raise JobFailed(result.message)
    return result


async def _start(handle: JobHandle, command: Sequence[str], request: Mapping[str, Any]) -> int:
    """Starts the process. Returns the offset in the progress file at which its lines will begin."""
    directory = handle.directory
    write_json(directory / job_files.REQUEST, dict(request))
    (directory / job_files.HEARTBEAT).touch()
    _, offset = job_files.read_progress(directory, 0)
    env = {name: value for name, value in os.environ.items() if name not in PRIVATE}
    # The process must not import from the working directory.
    env["PYTHONSAFEPATH"] = "1"
    try:
        started = spawn([*command, str(directory)], log=directory / job_files.LOG, env=env)
    except OSError as error:
        raise JobFailed(f"the job's process cannot be started: {error.strerror}") from error
    try:
        await handle.set_process(started)
    except BaseException:
        # No runner would ever find the process.
        started.kill_group(signal.SIGKILL)
        started.reap()
        raise
    return offset


async def _report(handle: JobHandle, lines: Sequence[job_files.Progress], share: float) -> None:
    for number, line in enumerate(lines):
        last = number == len(lines) - 1
        if last or line.stage != handle.stage:
            await handle.report_progress(share * line.fraction, line.stage, line.message, line.metrics)


def _exit_reason(code: int | None) -> str:
    if code is None:
        return "ended without a result"
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit status {code} and no result"


def job_directory(data_dir: Path) -> Path:
    """The directory in which each job has one of its own."""
    return (data_dir / "jobs").resolve()
