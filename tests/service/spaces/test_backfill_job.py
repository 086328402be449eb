"""A backfill is a job like others: claimed under the job's lease, taken over, cancelled, left to others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from faces.bundle import read
from faces.types import AlignedCrop
from service.bundles.registry import BundleStore
from service.crops import align_all
from service.inference.engine import Engine
from service.jobs.queue import JobQueue
from service.jobs.runner import JobRunner, RunnerOptions
from service.spaces import registry as spaces
from service.spaces.admin import BACKFILL, SpaceAdmin
from service.spaces.backfill_job import BackfillJob
from service.spaces.backfill_worker import BackfillWorker
from service.spaces.registry import SpaceRegistry
from service.spaces.view import SpaceView
from service.store.database import Database
from service.store.job_records import JobRecord
from tests.conftest import StartService, sample_bytes
from tests.service.api.test_errors import enroll
from tests.service.inference.faces import OPTIONS, samples
from tests.service.spaces.support import SHIFT, space_of, variant, wait_state
from tests.service.spaces.test_backfill import enrolled

WAIT_S = 300.0
LEASE_S = 1.0
QUICK = {"HALFLIGHT_LOG_POLL_S": "0.05", "HALFLIGHT_INTRA_OP_THREADS": "1"}


@pytest.fixture
def kept(bundle_dir: Path) -> list[tuple[AlignedCrop, ...]]:
    engine = Engine.load(read(bundle_dir), OPTIONS)
    return [align_all(seen.image, seen.face) for seen in samples(engine)]


@pytest.fixture
async def registry(db: Database, tmp_path: Path, bundle_dir: Path) -> AsyncIterator[SpaceRegistry]:
    opened = SpaceRegistry(db, BundleStore(tmp_path / "bundles"))
    await opened.open(read(bundle_dir), OPTIONS)
    yield opened
    await opened.close()


@pytest.mark.slow
@dataclass(frozen=True)
class Replica:
    """What one replica uses for backfills. It looks busy, so that it takes one crop at a time."""

    db: Database
    registry: SpaceRegistry
    directory: Path

    @property
    def admin(self) -> SpaceAdmin:
        return SpaceAdmin(self.db, self.registry, settle_s=0.1, bundle_key=None)

    @property
    def queue(self) -> JobQueue:
        return JobQueue(self.db, {BACKFILL: self.admin.end_cancelled_backfill})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs jobs until the block ends."""
        worker = BackfillWorker(self.db, self.registry, busy=lambda: True)
        options = RunnerOptions(lease_s=LEASE_S, poll_s=0.05)
        runner = JobRunner(self.db, [BackfillJob(worker, self.admin)], self.directory, options)
        serving = asyncio.create_task(runner.serve())
        try:
            yield
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    async def until_filling(self, space_id: str) -> SpaceView:
        async with asyncio.timeout(WAIT_S):
            view = await self.admin.one(space_id)
            while not view.templates:
                await asyncio.sleep(0.01)
                view = await self.admin.one(space_id)
        return view

    async def ended(self, job_id: str) -> JobRecord:
        async with asyncio.timeout(WAIT_S):
            job = await self.queue.get(job_id)
            while job.ended_at is None:
                await asyncio.sleep(0.05)
                job = await self.queue.get(job_id)
        return job


@pytest.fixture
async def replica(
    db: Database,
    registry: SpaceRegistry,
    kept: list[tuple[AlignedCrop, ...]],
    tmp_path: Path,
    bundle_dir: Path,
) -> Replica:
    """Over SQLite, and over PostgreSQL; with enrolled samples and a bundle `wide` of another space."""
    variant(bundle_dir, tmp_path / "bundles" / "wide")
    await enrolled(db, kept)
    return Replica(db, registry, tmp_path / "jobs")


async def test_a_newer_bundle_of_the_space_does_not_end_its_backfill(
    replica: Replica, tmp_path: Path, bundle_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the backfill took longer than the minute for which replaced networks stay open.
    monkeypatch.setattr(spaces, "CLOSE_AFTER_S", 0.0)
    variant(bundle_dir, tmp_path / "bundles" / "wider", shift=2 * SHIFT, name="wider")
    admin = replica.admin
    space_id = (await admin.register("wide", "test")).record.space_id
    async with replica.running():
        _, job_id = await admin.backfill(space_id, "test")
        view = await replica.until_filling(space_id)
        assert view.missing
        assert (await admin.register("wider", "test")).record.space_id == space_id
        assert (await replica.ended(job_id)).state == "succeeded"
    view = await admin.one(space_id)
    assert (view.record.state, view.missing, view.message) == ("ready", 0, "")


async def test_without_a_runner_the_backfill_waits_and_a_later_runner_does_it(replica: Replica) -> None:
    admin = replica.admin
    space_id = (await admin.register("wide", "test")).record.space_id
    view, job_id = await admin.backfill(space_id, "test")
    assert (view.record.state, view.backfill) == ("backfilling", {"running": True})
    await asyncio.sleep(0.3)
    assert (await replica.queue.get(job_id)).state == "queued"
    assert (await admin.one(space_id)).templates == 0
    async with replica.running():
        job = await replica.ended(job_id)
    view = await admin.one(space_id)
    assert (job.state, job.metrics) == ("succeeded", {"space_id": space_id, "templates": view.templates})
    assert (view.record.state, view.missing) == ("ready", 0)
    assert view.backfill is not None
    assert view.backfill["running"] is False


async def test_a_stopped_runner_leaves_its_backfill_to_the_next_one(replica: Replica) -> None:
    admin = replica.admin
    space_id = (await admin.register("wide", "test")).record.space_id
    _, job_id = await admin.backfill(space_id, "test")
    async with replica.running():
        assert (await replica.until_filling(space_id)).missing
    job, view = await replica.queue.get(job_id), await admin.one(space_id)
    assert (job.state, job.lease_owner) == ("running", None)
    assert view.missing
    async with replica.running():
        assert (await replica.ended(job_id)).state == "succeeded"
    assert (await admin.one(space_id)).missing == 0


async def test_the_backfill_of_a_dead_runner_is_taken_over_when_its_lease_ends(replica: Replica) -> None:
    admin = replica.admin
    space_id = (await admin.register("wide", "test")).record.space_id
    _, job_id = await admin.backfill(space_id, "test")
    async with replica.db.write() as uow:
        assert await uow.jobs.claim("dead", kinds=[BACKFILL], slot=None, lease_s=LEASE_S)
        await uow.commit()
    async with replica.running():
        assert (await replica.ended(job_id)).state == "succeeded"
    messages = [event.message for event in await replica.queue.events(job_id, 0)]
    assert any("the service died at it" in message for message in messages)
    assert (await admin.one(space_id)).record.state == "ready"


async def test_cancelling_a_running_backfill_retires_its_space(replica: Replica) -> None:
    admin = replica.admin
    space_id = (await admin.register("wide", "test")).record.space_id
    _, job_id = await admin.backfill(space_id, "test")
    async with replica.running():
        assert (await replica.until_filling(space_id)).missing
        await replica.queue.cancel(job_id, actor="test")
        assert (await replica.ended(job_id)).state == "cancelled"
    view = await admin.one(space_id)
    assert (view.record.state, view.backfill) == ("retired", {"running": False})


async def test_cancelling_a_queued_backfill_retires_its_space(replica: Replica) -> None:
    admin, queue = replica.admin, replica.queue
    space_id = (await admin.register("wide", "test")).record.space_id
    _, first = await admin.backfill(space_id, "test")
    _, second = await admin.backfill(space_id, "test")
    # The second job has replaced the first one.
    assert (await queue.cancel(first, actor="test")).state == "cancelled"
    assert (await admin.one(space_id)).record.state == "backfilling"
    assert (await queue.cancel(second, actor="test")).state == "cancelled"
    view = await admin.one(space_id)
    assert (view.record.state, view.backfill) == ("retired", {"running": False})


async def test_a_space_whose_job_gave_up_says_so(replica: Replica) -> None:
    admin = replica.admin
    space_id = (await admin.register("wide", "test")).record.space_id
    _, job_id = await admin.backfill(space_id, "test")
    async with replica.db.write() as uow:
        assert await uow.jobs.claim("runner", kinds=[BACKFILL], slot=None, lease_s=60)
        await uow.jobs.finish(job_id, "runner", "failed", message="given up", metrics={})
        await uow.commit()
    view = await admin.one(space_id)
    assert (view.record.state, view.backfill, view.message) == ("backfilling", {"running": False}, "given up")
    async with replica.running():
        _, job_id = await admin.backfill(space_id, "test")
        assert (await replica.ended(job_id)).state == "succeeded"


def test_a_replica_that_runs_no_jobs_leaves_backfills_to_others(
    start_service: StartService, tmp_path: Path, bundle_dir: Path
) -> None:
    data = tmp_path / "shared"
    variant(bundle_dir, data / "bundles" / "wide")
    idle = start_service(data=data, HALFLIGHT_RUN_JOBS="false", **QUICK)
    with idle.client() as client:
        assert enroll(client, "s01", sample_bytes("s01")).status_code == 201
        space_id = client.post("/admin/spaces", json={"bundle": "wide"}).json()["space_id"]
        asked = client.post(f"/admin/spaces/{space_id}/backfill")
        assert asked.status_code == 202
        assert asked.json()["backfill"] == {"running": True}
        job = f"/admin/jobs/{asked.json()['job_id']}"
        assert client.get(job).json()["state"] == "queued"
        # Its next enrolment is written to the space, and nothing fills the rest.
        assert enroll(client, "s02", sample_bytes("s02")).status_code == 201
        waiting = space_of(client, space_id)
        assert (waiting["state"], waiting["templates"], waiting["missing"]) == ("backfilling", 1, 1)
        assert client.get(job).json()["state"] == "queued"
        start_service(data=data, **QUICK)
        assert wait_state(client, space_id, "ready")["missing"] == 0
