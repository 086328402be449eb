"""Jobs on real processes, over SQLite and PostgreSQL: run, kill, take over, cancel."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from service.errors import JobRunning
from service.jobs.process import ProcessId
from tests.service.jobs.conftest import Bench


async def counting(bench: Bench, job_id: str) -> ProcessId:
    """The process that works on the job, once it has begun to count."""
    count = bench.directory / job_id / "count"
    job = await bench.until(job_id, lambda job: count.is_file() and job.process is not None)
    process = ProcessId.parse(job.process)
    assert process is not None
    assert process.alive()
    return process


async def test_a_job_runs_and_records_its_events(each_bench: Bench) -> None:
    each_bench.start()
    job_id = await each_bench.submit()
    nap_id = await each_bench.submit("nap")
    job, nap = await each_bench.ended(job_id), await each_bench.ended(nap_id)
    assert (job.state, job.progress, job.metrics) == ("succeeded", 1.0, {"counted": 4})
    assert (nap.state, nap.metrics) == ("succeeded", {"napped": 4})
    events = await each_bench.queue.events(job_id, 0)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert (events[0].state, events[-1].state) == ("queued", "succeeded")
    assert "counting" in {event.stage for event in events}
    later = await each_bench.queue.events(job_id, events[1].seq)
    assert later == events[2:]


async def test_the_process_does_not_get_the_secrets_of_the_service(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {
        "HALFLIGHT_MASTER_KEY",
        "HALFLIGHT_DATABASE_URL",
        "HALFLIGHT_BUNDLE_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
    }
    for name in keys:
        monkeypatch.setenv(name, "secret")
    bench.start()
    job_id = await bench.submit(steps=1)
    assert (await bench.ended(job_id)).state == "succeeded"
    names = set((bench.directory / job_id / "environ").read_text().split("\n"))
    assert "PATH" in names
    assert not names & keys


async def test_a_killed_process_is_restarted_and_resumes(bench: Bench) -> None:
    bench.start()
    job_id = await bench.submit(steps=20)
    process = await counting(bench, job_id)
    os.kill(process.pid, signal.SIGKILL)
    job = await bench.ended(job_id)
    assert job.state == "succeeded"
    assert len(bench.starts(job_id)) == 2
    told = [event.message for event in await bench.queue.events(job_id, 0, 1000)]
    assert any("signal 9" in message for message in told)


async def test_a_killed_runner_leaves_its_process_to_the_next_one(bench: Bench) -> None:
    first = bench.start(lease_s=60)
    job_id = await bench.submit(steps=40)
    process = await counting(bench, job_id)
    bench.kill(first)
    assert process.alive()
    bench.start(lease_s=60)
    job = await bench.ended(job_id)
    assert (job.state, job.metrics) == ("succeeded", {"counted": 40})
    assert bench.starts(job_id) == [process.pid]


async def test_a_job_resumes_after_a_kill_of_runner_and_process(bench: Bench) -> None:
    first = bench.start(lease_s=60)
    job_id = await bench.submit(steps=20)
    process = await counting(bench, job_id)
    bench.kill(first)
    process.kill_group(signal.SIGKILL)
    bench.start(lease_s=60)
    job = await bench.ended(job_id)
    assert job.state == "succeeded"
    assert len(bench.starts(job_id)) == 2


async def test_a_stopped_runner_releases_its_job_at_once(bench: Bench) -> None:
    first = bench.start(lease_s=60)
    nap_id = await bench.submit("nap", steps=100)
    await bench.until(nap_id, lambda job: job.state == "running")
    bench.kill(first, signal.SIGTERM)
    assert (await bench.queue.get(nap_id)).lease_owner is None
    bench.start(lease_s=60)
    assert (await bench.until(nap_id, lambda job: job.lease_owner is not None)).attempts == 0


async def test_a_job_that_dies_without_progress_fails_with_the_reason(bench: Bench) -> None:
    bench.start()
    job_id = await bench.submit(steps=1, pause_s=60)
    killed: set[int] = set()
    while (job := await bench.queue.get(job_id)).ended_at is None:
        process = ProcessId.parse(job.process)
        if process is not None and process.pid not in killed and process.alive():
            killed.add(process.pid)
            os.kill(process.pid, signal.SIGKILL)
        await asyncio.sleep(0.02)
    assert job.state == "failed"
    assert "given up after 4 attempts" in job.message
    assert len(killed) == 4


async def test_a_failed_job_is_not_tried_again(bench: Bench) -> None:
    bench.start()
    job_id = await bench.submit(fail=True)
    job = await bench.ended(job_id)
    assert (job.state, job.message) == ("failed", "this cannot be counted")
    assert len(bench.starts(job_id)) == 1


@pytest.mark.parametrize("kind", ["count", "nap"])
async def test_cancel_ends_running_and_queued_jobs(bench: Bench, kind: str) -> None:
    bench.start()
    running = await bench.submit(kind, steps=1000)
    await bench.until(running, lambda job: job.progress > 0)
    process = ProcessId.parse((await bench.queue.get(running)).process)
    waiting = await bench.submit(kind)
    assert (await bench.queue.cancel(waiting, actor="test")).state == "cancelled"
    await bench.queue.cancel(running, actor="test")
    assert (await bench.ended(running)).state == "cancelled"
    if kind == "count":
        assert process is not None
        assert not process.alive()
    assert (await bench.queue.cancel(running, actor="test")).state == "cancelled"
    assert bench.starts(waiting) == []


async def test_two_runners_never_run_one_job_twice(each_bench: Bench) -> None:
    for _ in range(2):
        each_bench.start()
    naps = [await each_bench.submit("nap", steps=1, pause_s=0.01) for _ in range(20)]
    counts = [await each_bench.submit(steps=1, pause_s=0.1) for _ in range(3)]
    together = 0
    for job_id in naps + counts:
        assert (await each_bench.ended(job_id)).state == "succeeded"
        async with each_bench.db.read() as uow:
            running = [job for job in await uow.jobs.running() if job.kind == "count"]
        together = max(together, len(running))
    assert together <= 1
    for job_id in naps:
        assert (each_bench.directory / job_id / "naps").read_text() == "nap\n"
    for job_id in counts:
        assert len(each_bench.starts(job_id)) == 1


async def test_a_runner_whose_lease_expired_cannot_change_the_job(each_bench: Bench) -> None:
    """A runner that slept through its lease must not write over the one that has the job now."""
    job_id = await each_bench.submit()
    async with each_bench.db.write() as uow:
        claim = await uow.jobs.claim("slow", kinds=["count"], slot="here", lease_s=0.0)
        await uow.commit()
    assert claim is not None
    async with each_bench.db.write() as uow:
        again = await uow.jobs.claim("next", kinds=["count"], slot="here", lease_s=60)
        await uow.commit()
    assert again is not None
    assert again.interrupted
    async with each_bench.db.write() as uow:
        assert not await uow.jobs.heartbeat(job_id, "slow", lease_s=60)
        assert not await uow.jobs.report(job_id, "slow", progress=0.9)
        assert not await uow.jobs.finish(job_id, "slow", "failed", message="late", metrics={})
        assert await uow.jobs.report(job_id, "next", progress=0.5)
        await uow.commit()
    job = await each_bench.queue.get(job_id)
    assert (job.state, job.progress, job.lease_owner) == ("running", 0.5, "next")


async def test_a_slot_holds_one_running_job(each_bench: Bench) -> None:
    first, second = await each_bench.submit(), await each_bench.submit()
    for owner, slot, expected in (("a", "x", first), ("b", "x", None), ("b", "y", second)):
        async with each_bench.db.write() as uow:
            claim = await uow.jobs.claim(owner, kinds=["count"], slot=slot, lease_s=60)
            await uow.commit()
        assert (claim.job.job_id if claim else None) == expected


async def test_a_second_sole_job_is_refused_while_the_first_is_unfinished(each_bench: Bench) -> None:
    asked = await asyncio.gather(*(each_bench.submit(sole=True) for _ in range(4)), return_exceptions=True)
    made = [one for one in asked if isinstance(one, str)]
    assert len(made) == 1
    assert sum(isinstance(one, JobRunning) for one in asked) == 3
    await each_bench.queue.cancel(made[0], actor="test")
    await each_bench.submit(sole=True)
