"""The whole circle on real processes: enrol, retrain by HTTP, kill the service meanwhile, watch, switch."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from pathlib import Path

import httpx
import pytest

from service.jobs.process import ProcessId
from tests.conftest import StartService, sample_bytes
from tests.service.api.test_errors import enroll, identify
from tests.service.jobs.test_http import Listener
from tests.training.retrain_sets import write_set

# Other work on the machine may make this slow; nothing here depends on the time it takes.
WAIT_S = 1200.0
SUBJECTS = ("s01", "s02", "s03")


def best(client: httpx.Client, subject: str) -> tuple[str, str]:
    """The space that answered, and who was found."""
    answer = identify(client, sample_bytes(subject, "nir_masked_1.jpg"))
    assert answer.status_code == 200, answer.text
    return answer.json()["space_id"], answer.json()["results"][0]["candidates"][0]["subject_id"]


def until_training(client: httpx.Client, job_id: str) -> float:
    end = time.monotonic() + WAIT_S
    while True:
        job = client.get(f"/admin/jobs/{job_id}").json()
        if job["stage"] == "training":
            return float(job["progress"])
        assert job["ended_at"] is None, job["message"]
        assert time.monotonic() < end, job
        time.sleep(0.1)


def process_of(data: Path, job_id: str) -> ProcessId:
    with sqlite3.connect(data / "halflight.db") as db:
        (stored,) = db.execute("SELECT process FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
    db.close()
    found = ProcessId.parse(json.loads(stored))
    assert found is not None
    return found


@pytest.mark.slow
def test_retrain_through_a_killed_service_to_a_better_space_and_back(
    start_service: StartService, tmp_path: Path
) -> None:
    data, sets = tmp_path / "circle", tmp_path / "sets"
    write_set(sets / "patterns")
    env = {"HALFLIGHT_DATASETS": str(sets), "HALFLIGHT_JOB_LEASE_S": "60", "OMP_NUM_THREADS": "1"}
    service = start_service(data=data, **env)
    with service.client() as client:
        for subject in SUBJECTS:
            assert enroll(client, subject, sample_bytes(subject)).status_code == 201
        first, _ = best(client, "s01")
        asked = {"dataset": "patterns", "iterations": 30, "activate": "if_better"}
        submitted = client.post("/admin/retrain", json=asked)
        assert submitted.status_code == 202, submitted.text
        job_id = submitted.json()["job_id"]
        again = client.post("/admin/retrain", json=asked)
        assert (again.status_code, again.json()["code"]) == (409, "job_running")
        until_training(client, job_id)
        process = process_of(data, job_id)
        service.kill()
    assert process.alive()
    service = start_service(data=data, **env)
    listener = Listener(f"{service.url}/admin/jobs/{job_id}/events")
    listener.join(WAIT_S)
    assert not listener.is_alive()
    last = listener.events[-1]["data"]
    assert last["state"] == "succeeded", last["message"]
    assert "resuming" not in {event["data"]["stage"] for event in listener.events}
    assert last["metrics"]["activated"], last["message"]
    assert last["metrics"]["rank1"]["nir-masked"]["difference_points"][1] > 0
    assert str(tmp_path) not in str([event["data"] for event in listener.events])
    with service.client() as client:
        second, _ = best(client, "s01")
        assert second == last["metrics"]["space_id"] != first
        spaces = {space["space_id"]: space for space in client.get("/admin/spaces").json()["spaces"]}
        assert (spaces[second]["state"], spaces[second]["missing"]) == ("active", 0)
        assert spaces[first]["state"] == "ready"
        back = client.post(f"/admin/spaces/{first}/activate")
        assert back.status_code == 200, back.text
        for subject in SUBJECTS:
            assert best(client, subject) == (first, subject)
    job = data / "jobs" / job_id
    assert not (job / "private").exists()
    assert (job / "log.txt").stat().st_size > 0


@pytest.mark.slow
def test_cancelling_ends_the_process_of_a_retraining(start_service: StartService, tmp_path: Path) -> None:
    sets = tmp_path / "sets"
    write_set(sets / "patterns")
    service = start_service(HALFLIGHT_DATASETS=str(sets), OMP_NUM_THREADS="1")
    with service.client() as client:
        asked = {"dataset": "patterns", "iterations": 100_000}
        job_id = client.post("/admin/retrain", json=asked).json()["job_id"]
        until_training(client, job_id)
        process = process_of(service.data, job_id)
        assert client.post(f"/admin/jobs/{job_id}/cancel").status_code == 202
        listener = Listener(f"{service.url}/admin/jobs/{job_id}/events")
        listener.join(WAIT_S)
        assert listener.events[-1]["data"]["state"] == "cancelled"
        assert not process.alive()
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
