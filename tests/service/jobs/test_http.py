"""Jobs and retraining over HTTP: refusals, lists, events. The jobs here are worked on by the test itself."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.jobs.queue import JobQueue
from service.store.database import Database
from tests.conftest import ANSWER_S, Service
from tests.service.api.test_errors import problem

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


class Listener(threading.Thread):
    """Reads a job's events to the end of the stream."""

    def __init__(self, url: str, last_event_id: str | None = None) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        self.events: list[dict[str, Any]] = []
        self.start()

    def run(self) -> None:
        fields: dict[str, str] = {}
        with httpx.stream("GET", self._url, headers=self._headers, timeout=ANSWER_S) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if line and name:
                    fields[name] = value
                elif not line and "data" in fields:
                    self.events.append({**fields, "data": json.loads(fields["data"])})
                    fields = {}

    def saw(self, count: int) -> list[dict[str, Any]]:
        end = time.monotonic() + 60
        while len(self.events) < count and time.monotonic() < end:
            time.sleep(0.02)
        return self.events

    def until_stage(self, stage: str, wait_s: float) -> None:
        """Until the job has come to this stage, or further."""
        end = time.monotonic() + wait_s
        while not any(event["data"]["stage"] == stage for event in self.events) and self.is_alive():
            assert time.monotonic() < end, f"never {stage}: {self.events[-1:]}"
            time.sleep(0.05)


async def report(db: Database, job_id: str, progress: float) -> None:
    async with db.write() as uow:
        assert await uow.jobs.report(
            job_id, "test", progress=progress, stage="walking", message=f"{progress}"
        )
        await uow.commit()


async def test_events_are_told_once_in_order_and_the_stream_ends_with_the_job(
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


async def test_lists_go_on_where_they_stopped(web: httpx.AsyncClient, db: Database) -> None:
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


@pytest.mark.parametrize("dataset", ["../outside", "good/../../outside", "/etc", "link", "raw", "none", "."])
def test_only_prepared_sets_below_the_root_may_be_named(admin: httpx.Client, dataset: str) -> None:
    answer = admin.post("/admin/retrain", json={"dataset": dataset})
    problem(answer, 422, "invalid_parameter")
    assert "outside" not in answer.json()["detail"]


@pytest.mark.parametrize(
    "changed",
    [
        {"iterations": 10, "minutes": 1},
        {"iterations": 0},
        {"preset": "magic"},
        {"activate": "always"},
        {"surprise": 1},
        {"dataset": ""},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(admin: httpx.Client, changed: dict[str, Any]) -> None:
    answer = admin.post("/admin/retrain", json={"dataset": "good", **changed})
    problem(answer, 422, "invalid_parameter")
    assert "Value error" not in answer.json()["detail"]


def test_without_the_train_extra_the_answer_names_it(admin: httpx.Client) -> None:
    answer = admin.post("/admin/retrain", json={"dataset": "good"})
    problem(answer, 409, "training_unavailable")
    assert "torch" in answer.json()["detail"]
    assert "`train` extra" in answer.json()["detail"]


def test_a_service_without_data_sets_says_what_to_set(client: httpx.Client) -> None:
    answer = client.post("/admin/retrain", json={"dataset": "good"})
    problem(answer, 422, "invalid_parameter")
    assert "HALFLIGHT_DATASETS" in answer.json()["detail"]
