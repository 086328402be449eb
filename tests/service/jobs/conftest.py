"""A queue on a fresh database, and runners in processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from service.jobs.queue import JobQueue
from service.store.database import Database
from service.store.job_records import JobRecord
from tests.conftest import REPO, Service

WAIT_S = 300.0
MAX_ARCHIVE_BYTES = 300_000


class Bench:
    """The queue, as an administrator sees it, and how to start and kill runners."""

    def __init__(self, db: Database, url: str, directory: Path) -> None:
        self.db, self.queue, self.directory = db, JobQueue(db), directory
        self._url = url
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *, lease_s: float = 5.0) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.service.jobs.replica", self._url, str(self.directory)]
        env = {**os.environ, "PYTHONPATH": str(REPO)}
        with (self.directory.parent / "replica.log").open("a") as log:
            started = subprocess.Popen([*command, str(lease_s)], env=env, stdout=log, stderr=log)
        self._started.append(started)
        return started

    def kill(self, replica: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
        replica.send_signal(number)
        replica.wait(timeout=WAIT_S)

    async def submit(self, kind: str = "count", *, sole: bool = False, **request: object) -> str:
        asked = {"steps": 4, "pause_s": 0.05, **request}
        return await self.queue.submit(kind, asked, actor="test", sole=sole)

    async def until(self, job_id: str, reached: Callable[[JobRecord], bool]) -> JobRecord:
        end = time.monotonic() + WAIT_S
        while True:
            job = await self.queue.get(job_id)
            if reached(job):
                return job
            assert time.monotonic() < end, f"still {job.state} at {job.progress}: {job.message}"
            await asyncio.sleep(0.02)

    async def ended(self, job_id: str) -> JobRecord:
        return await self.until(job_id, lambda job: job.ended_at is not None)

    def starts(self, job_id: str) -> list[int]:
        path = self.directory / job_id / "starts"
        return [int(line) for line in path.read_text().split()] if path.is_file() else []

    def close(self) -> None:
        for replica in self._started:
            if replica.poll() is None:
                self.kill(replica)
        for path in self.directory.glob("*/starts"):
            for line in path.read_text().split():
                try:
                    os.killpg(int(line), signal.SIGKILL)
                except ProcessLookupError:
                    continue


@asynccontextmanager
async def _bench(url: str, place: Path) -> AsyncIterator[Bench]:
    db = await Database.open(url)
    await db.migrate()
    made = Bench(db, url, place / "jobs")
    made.directory.mkdir()
    try:
        yield made
    finally:
        made.close()
        await db.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Over SQLite."""
    async with _bench(f"sqlite+aiosqlite:///{tmp_path / 'halflight.db'}", tmp_path) as made:
        yield made


@pytest.fixture
async def each_bench(database_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    """Over SQLite, and over PostgreSQL."""
    async with _bench(database_url, tmp_path) as made:
        yield made


@pytest.fixture(scope="package")
def place(tmp_path_factory: pytest.TempPathFactory, bundle_dir: Path) -> Iterator[Service]:
    """A service with a directory of data sets, whose training interpreter lacks everything."""
    root = tmp_path_factory.mktemp("jobs")
    bare = root / "python"
    # Isolated, and without the packages that are installed.
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    sets = root / "sets"
    (sets / "raw").mkdir(parents=True)
    for finished in (sets / "good", root / "outside"):
        finished.mkdir()
        (finished / "set.json").write_text("{}")
    (sets / "link").symlink_to(root / "outside")
    env = {"HALFLIGHT_DATASETS": str(sets), "HALFLIGHT_TRAIN_PYTHON": str(bare)}
    env |= {"HALFLIGHT_MAX_ARCHIVE_BYTES": str(MAX_ARCHIVE_BYTES)}
    running = Service(root / "data", env).start()
    yield running
    running.stop()


@pytest.fixture
def admin(place: Service) -> Iterator[httpx.Client]:
    with place.client() as client:
        yield client
