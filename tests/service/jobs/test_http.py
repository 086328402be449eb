"""Jobs over HTTP: lists, events, refusals. The tests themselves act as the runner."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from service.jobs.queue import JobQueue
from service.store.database import Database
from tests.conftest import Service
from tests.service.api.test_errors import problem
from tests.service.jobs.events import Listener

KIND = "errand"


@pytest.fixture
async def web(place: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=place.url, timeout=60) as client:
        yield client


@pytest.fixture
async def db(place: Service) -> AsyncIterator[Database]:
    opened = await Database.open(f"sqlite+aiosqlite:///{place.data / 'halflight.db'}")
    yield opened
    await opened.close()


async def report(db: Database, job_id: str, progress: float) -> None:
    async with db.write() as uow:
        assert await uow.jobs.report(
            job_id, "test", progress=progress, stage="walking", message=f"{progress}"
        )
        await uow.commit()


async def test_each_event_is_sent_once_in_order_and_the_stream_ends_with_the_job(
    place: Service, web: httpx.AsyncClient, db: Database
) -> None:
    job_id = await JobQueue(db).submit(KIND, {}, actor="test")
    url = f"{place.url}/admin/jobs/{job_id}/events"
    listener = Listener(url)
    assert listener.saw(1)[0]["data"]["state"] == "queued"
    async with db.write() as uow:
        assert await uow.jobs.claim("test", kinds=[KIND], slot=None, lease_s=600)
        await uow.commit()
    await report(db, job_id, 0.25)
    assert listener.saw(2)[1]["data"] | {"at": ""} == {
        "job_id": job_id,
        "at": "",
        "state": "running",
        "progress": 0.25,
        "stage": "walking",
        "message": "0.25",
        "metrics": {},
    }
    await report(db, job_id, 0.5)
    async with db.write() as uow:
        await uow.jobs.finish(job_id, "test", "succeeded", message="arrived", metrics={"steps": 3})
        await uow.commit()
    listener.join(60)
    assert not listener.is_alive()
    assert [event["id"] for event in listener.events] == ["1", "2", "3", "4"]
    assert [event["event"] for event in listener.events] == ["progress"] * 3 + ["end"]
    again = Listener(url, last_event_id="2")
    again.join(60)
    assert [event["id"] for event in again.events] == ["3", "4"]
    nothing = Listener(url, last_event_id="4")
    nothing.join(60)
    assert nothing.events == []
    job = (await web.get(f"/admin/jobs/{job_id}")).json()
    assert (job["state"], job["progress"], job["metrics"]) == ("succeeded", 1.0, {"steps": 3})
    assert job["message"] == "arrived"


async def test_the_cursor_continues_the_list_of_jobs(web: httpx.AsyncClient, db: Database) -> None:
    made = [await JobQueue(db).submit(KIND, {"n": n}, actor="test") for n in range(5)]
    first = (await web.get("/admin/jobs", params={"limit": 3})).json()
    second = (await web.get("/admin/jobs", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [job["job_id"] for job in first["jobs"] + second["jobs"]] == made[::-1]
    assert first["jobs"][0]["request"] == {"n": 4}
    problem(await web.get("/admin/jobs", params={"cursor": "../x"}), 422, "invalid_parameter")
    for job_id in made:
        answer = await web.post(f"/admin/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert (await web.get("/admin/jobs", params={"limit": 1})).json()["jobs"][0]["ended_at"] is not None


def test_an_unknown_job_is_404_before_any_stream_begins(admin: httpx.Client) -> None:
    for job_id in ("job-0", "no.such.job", "x" * 200):
        problem(admin.get(f"/admin/jobs/{job_id}"), 404, "job_not_found")
        problem(admin.get(f"/admin/jobs/{job_id}/events"), 404, "job_not_found")
        problem(admin.post(f"/admin/jobs/{job_id}/cancel"), 404, "job_not_found")


async def test_a_wrong_last_event_id_is_refused(web: httpx.AsyncClient, db: Database) -> None:
    job_id = await JobQueue(db).submit(KIND, {}, actor="test")
    wrong = await web.get(f"/admin/jobs/{job_id}/events", headers={"Last-Event-ID": "x"})
    problem(wrong, 422, "invalid_parameter")
