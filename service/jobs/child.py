"""Jobs that a process of its own works on: started, watched, taken over, ended.

The process is in a session of its own and outlives the service; what it does is told through the
files of `service.jobs.job_files`. It ends by itself when nobody has looked after the job for `ORPHAN_S`.
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
Ask = Callable[[], Awaitable[Mapping[str, Any]]]
# What only the service may know: every secret setting, and the keys of others that it may have been given.
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
    request: Ask | None = None,
    share: float = 1.0,
) -> Result:
    """The result of the job's process: the one that runs already, or a new one.

    `command` gets the job's directory as its last argument; `request` says what `request.json` will hold,
    and is only asked where a process is started.
    `share`: how much of the whole job its progress is.
    Raises JobFailed where it says that it failed, JobInterrupted where it died, JobCancelled.
    """
    directory = handle.directory
    offset = 0
    if handle.process is not None and handle.process.alive():
        # Everything but the last line was told by the runner before this one.
        lines, offset = job_files.read_progress(directory, 0)
        await _tell(handle, lines[-1:], share)
    elif job_files.read_result(directory) is None:
        if handle.process is not None:
            handle.process.kill_group(signal.SIGKILL)
            await handle.works_in(None)
            raise JobInterrupted("the job's process died while nobody watched")
        asked = handle.request if request is None else await request()
        offset = await _start(handle, command, asked)
    process = handle.process
    while process is not None and process.alive():
        if handle.cancelled():
            await asyncio.to_thread(process.end, grace_s=GRACE_S)
            raise JobCancelled
        lines, offset = job_files.read_progress(directory, offset)
        await _tell(handle, lines, share)
        await asyncio.sleep(POLL_S)
    code = None
    if process is not None:
        # What it started dies with it.
        process.kill_group(signal.SIGKILL)
        code = await asyncio.to_thread(process.reap)
    lines, _ = job_files.read_progress(directory, offset)
    await _tell(handle, lines, share)
    result = job_files.read_result(directory)
    await handle.works_in(None)
    if result is None:
        raise JobInterrupted(f"the job's process {_how(code)}")
    if result.state == "failed":
        raise JobFailed(result.message)
    return result


async def _start(handle: JobHandle, command: Sequence[str], request: Mapping[str, Any]) -> int:
    """Start the process; where its progress lines will begin."""
    directory = handle.directory
    write_json(directory / job_files.REQUEST, dict(request))
    (directory / job_files.HEARTBEAT).touch()
    _, offset = job_files.read_progress(directory, 0)
    env = {name: value for name, value in os.environ.items() if name not in PRIVATE}
    # The working directory is no place to import from.
    env["PYTHONSAFEPATH"] = "1"
    try:
        started = spawn([*command, str(directory)], log=directory / job_files.LOG, env=env)
    except OSError as error:
        raise JobFailed(f"the job's process cannot be started: {error.strerror}") from error
    try:
        await handle.works_in(started)
    except BaseException:
        # Nobody would ever find it.
        started.kill_group(signal.SIGKILL)
        started.reap()
        raise
    return offset


async def _tell(handle: JobHandle, lines: Sequence[job_files.Progress], share: float) -> None:
    for number, line in enumerate(lines):
        last = number == len(lines) - 1
        if last or line.stage != handle.stage:
            await handle.progress(share * line.fraction, line.stage, line.message, line.metrics)


def _how(code: int | None) -> str:
    if code is None:
        return "ended without a result"
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit status {code} and no result"


def job_directory(data_dir: Path) -> Path:
    """Below which each job has its own directory."""
    return (data_dir / "jobs").resolve()
