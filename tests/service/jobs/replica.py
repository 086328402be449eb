"""A runner in a process of its own: `python -m tests.service.jobs.replica URL DIR LEASE_S`.

It knows the kinds `count` (a process of its own) and `nap` (within this one).
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from service.jobs.base import JobCancelled, JobHandle
from service.jobs.child import run_child
from service.jobs.runner import JobRunner, RunnerOptions
from service.store.database import Database

COUNT = (sys.executable, "-m", "tests.service.jobs.counting")


class ChildKind:
    """A kind of job whose whole work is one command. `command`: the program and its arguments."""

    on_accelerator = True

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self._name, self._command = name, tuple(command)

    @property
    def name(self) -> str:
        return self._name

    async def run(self, handle: JobHandle) -> Mapping[str, Any]:
        return (await run_child(handle, self._command)).metrics


class Nap:
    """Sleeps in this process, and writes down that it did."""

    name, on_accelerator = "nap", False

    async def run(self, handle: JobHandle) -> Mapping[str, Any]:
        steps = int(handle.request["steps"])
        for step in range(steps):
            if handle.cancelled():
                raise JobCancelled
            await asyncio.sleep(float(handle.request["pause_s"]))
            await handle.report_progress((step + 1) / steps, "napping")
        with (handle.directory / "naps").open("a") as naps:
            naps.write("nap\n")
        return {"napped": steps}


async def main(url: str, directory: Path, lease_s: float) -> None:
    db = await Database.open(url)
    options = RunnerOptions(lease_s=lease_s, poll_s=0.05)
    runner = JobRunner(db, [ChildKind("count", COUNT), Nap()], directory, options)
    serving = asyncio.create_task(runner.serve())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    with suppress(asyncio.CancelledError):
        await serving
    await db.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])))
