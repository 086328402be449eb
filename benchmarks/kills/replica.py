"""Starts services and key rotations as processes of their own, which SIGKILL ends.

Most processes are forked from one that has imported the libraries already, so that a start takes what the
service itself does and not what Python's imports take. They share nothing with the benchmark.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Protocol

import httpx

# A machine that has other work needs long; this ends only what would never be ready.
START_S = 900.0
ANSWER_S = 300.0
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "benchmarks.kills.campaign",
        "service.server",
        "service.store.rotation",
        # What is imported where it is first used.
        "aiosqlite",
        "sqlalchemy.dialects.sqlite.aiosqlite",
        "alembic.context",
        "logging.config",
        "uvicorn.protocols.http.httptools_impl",
        "uvicorn.lifespan.on",
        "uvicorn.loops.uvloop",
        "uvloop",
    ]
)


class Running(Protocol):
    """A process: one that was forked, or one of the command line."""

    pid: int

    def kill(self) -> None: ...


class NotReady(Exception):
    """A service that was started did not become ready by itself; the text says what it said."""


def _serve(env: Mapping[str, str], log: str) -> None:
    """What `halflight serve` does, in a process that was forked."""
    _own_output(env, log)
    from service.server import run
    from service.settings import Settings

    sys.exit(run(Settings()))


def _rotate(env: Mapping[str, str], log: str, pause_s: float) -> None:
    """What `halflight keys rotate-master` does, in portions small enough to be killed between them."""
    _own_output(env, log)
    from service.sealing.sources import MasterKeys
    from service.settings import Settings
    from service.store.database import Database
    from service.store.errors import StoreBusy
    from service.store.rotation import rotate_master

    async def work() -> None:
        settings = Settings()
        db = await Database.open(settings.sqlalchemy_url, MasterKeys(settings.key_source))
        try:
            while True:
                try:
                    await rotate_master(db, pause_s=pause_s, at_once=2)
                except StoreBusy:
                    # Others write, on a busy machine: what is done stays done.
                    continue
                return
        finally:
            await db.close()

    asyncio.run(work())


def _own_output(env: Mapping[str, str], log: str) -> None:
    os.environ.update(env)
    faulthandler.register(signal.SIGUSR1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.close(target)


class Rotation:
    """One rotation of the master key, in a process of its own."""

    def __init__(self, env: Mapping[str, str], log: Path, *, pause_s: float) -> None:
        self._process = FORKS.Process(target=_rotate, args=(dict(env), str(log), pause_s))
        self._process.start()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def wait(self, timeout_s: float) -> bool:
        """Whether it came to its end; kills it if it did not within this time."""
        self._process.join(timeout_s)
        if self._process.is_alive():
            self.kill()
        return self._process.exitcode == 0


class Replica:
    """One service on a port of its own. `number`: among the replicas of one database."""

    def __init__(self, number: int, env: Mapping[str, str], place: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.number, self.url = number, f"http://127.0.0.1:{self.port}"
        self._env = {**env, "HALFLIGHT_PORT": str(self.port)}
        self._log = place / f"replica{number}.log"
        self._forked: ForkServerProcess | None = None
        self._command: subprocess.Popen[bytes] | None = None

    def start(self, *, forked: bool = True) -> None:
        """Starts the service; `forked`: not by its command line. Does not wait for it."""
        if forked:
            self._command = None
            self._forked = FORKS.Process(target=_serve, args=(self._env, str(self._log)))
            self._forked.start()
            return
        self._forked = None
        with self._log.open("ab") as log:
            self._command = subprocess.Popen(
                [sys.executable, "-m", "service.cli.main", "serve"],
                env={**os.environ, **self._env},
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """Ends the service with SIGKILL."""
        if self._forked is not None:
            self._forked.kill()
            self._forked.join()
        if self._command is not None:
            self._command.kill()
            self._command.wait()
        self._forked = self._command = None

    def wait_ready(self) -> float:
        """Waits until readiness says `ready` and nothing less; returns the seconds. Raises NotReady."""
        began, said = time.monotonic(), "nothing"
        with httpx.Client(base_url=self.url, timeout=ANSWER_S) as http:
            while time.monotonic() - began < START_S:
                if (code := self._ended()) is not None:
                    raise NotReady(f"it ended with {code}: {self.last_lines()}")
                try:
                    answer = http.get("/health/ready")
                    said = answer.text[:300]
                    if answer.status_code == httpx.codes.OK and answer.json()["status"] == "ready":
                        return time.monotonic() - began
                except httpx.HTTPError:
                    pass
                time.sleep(0.1)
        if self._forked is not None and self._forked.pid is not None:
            # It writes where each of its threads is.
            os.kill(self._forked.pid, signal.SIGUSR1)
            time.sleep(1.0)
        raise NotReady(f"after {START_S:.0f} s it says {said}; {self.last_lines()}")

    def last_lines(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    def _ended(self) -> int | None:
        if self._forked is not None:
            return self._forked.exitcode
        return None if self._command is None else self._command.poll()
