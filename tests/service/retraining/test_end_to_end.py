"""The whole circle on real processes: enrol, retrain by HTTP, kill the service meanwhile, watch, switch, and
back, with clients that identify all the while. `SUBJECTS=200` enrols as many as the issue does, from LFW."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from service.jobs.process import ProcessId
from tests.conftest import StartService, sample_bytes
from tests.service.api.test_errors import enroll
from tests.service.cli.command import mirrored
from tests.service.jobs.events import Listener
from tests.service.spaces.load import Load, Writer, check_nobody_lost, subjects_of
from tests.service.spaces.people import LFW, SAMPLES, people
from tests.service.spaces.support import photo_oracle
from tests.training.jobs.retrain_sets import write_set

# Other work on the machine may make this slow; nothing here depends on the time it takes.
WAIT_S = 1200.0
SUBJECTS = int(os.environ.get("SUBJECTS", "12"))
PROBES, CLIENTS = 40, 4
IDLE_ANSWERS = 200


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
def test_a_retraining_survives_a_kill_and_its_space_is_activated_and_reverted_under_load(
    start_service: StartService, tmp_path: Path, bundle_dir: Path
) -> None:
    if SUBJECTS > SAMPLES and not LFW.is_file():
        pytest.skip(f"{SUBJECTS} subjects need LFW beside the checkout")
    data, sets = tmp_path / "circle", tmp_path / "sets"
    write_set(sets / "patterns")
    everybody = people(SUBJECTS, bundle_dir)
    enrolled = {subject: person.vis for subject, person in everybody.items()}
    probes = {subject: person.probe for subject, person in list(everybody.items())[:PROBES]}
    env = {"HALFLIGHT_DATASETS": str(sets), "HALFLIGHT_JOB_LEASE_S": "60", "OMP_NUM_THREADS": "1"}
    env |= {"HALFLIGHT_INTRA_OP_THREADS": "1"}
    service = start_service(data=data, **env)
    with service.client() as client:
        for subject, photo in enrolled.items():
            made = enroll(client, subject, photo)
            assert made.status_code == 201, made.text
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
    # Few requests while the network is trained, which gives way to them; then as many as come.
    with (
        service.client() as client,
        Load([service], probes, clients=CLIENTS, pause_s=2.0) as load,
        Writer(service, [sample_bytes("s14"), mirrored("s14")]) as writer,
    ):
        listener = Listener(f"{service.url}/admin/jobs/{job_id}/events")
        listener.until_stage("registering", WAIT_S)
        load.pause_s = 0.1
        listener.until_stage("backfilling", WAIT_S)
        load.phase = "backfill"
        listener.until_stage("activating", WAIT_S)
        load.phase = "switches"
        listener.join(WAIT_S)
        assert not listener.is_alive()
        last = listener.events[-1]["data"]
        assert last["state"] == "succeeded", last["message"]
        assert last["metrics"]["activated"], last["message"]
        second = last["metrics"]["space_id"]
        load.until(service, second, len(probes))
        spaces = {space["space_id"]: space for space in client.get("/admin/spaces").json()["spaces"]}
        (first,) = set(spaces) - {second}
        # There and back again, twice; the last word has the old space.
        for target in (first, second, first):
            switched = client.post(f"/admin/spaces/{target}/activate")
            assert switched.status_code == 200, switched.text
            load.until(service, target, len(probes))
        load.phase = "idle"
        load.until(service, first, IDLE_ANSWERS)
    assert not writer.failed, writer.failed
    assert spaces[second]["state"] == "active"
    assert spaces[first]["state"] == "ready"
    assert "resuming" not in {event["data"]["stage"] for event in listener.events}
    assert last["metrics"]["rank1"]["nir-masked"]["difference_points"][1] > 0
    assert str(tmp_path) not in str([event["data"] for event in listener.events])
    places = [data / "bundles" / "sha256" / spaces[one]["bundle"]["digest"] for one in (first, second)]
    answers = load.check([photo_oracle(place, enrolled, probes, open_set=True) for place in places])
    print(
        f"{SUBJECTS} subjects, {CLIENTS} clients: {dict(answers)} answers, old space {first}, new {second};"
    )
    for phase, took in load.seconds.items():
        p50, p99 = (1000 * float(np.percentile(took, q)) for q in (50, 99))
        print(f"{phase or 'training'}: {len(took)} answers, p50 {p50:.0f} ms, p99 {p99:.0f} ms;")
    print(f"meanwhile {len(writer.there)} enrolled and kept, {len(writer.gone)} enrolled and erased")
    everyone = enrolled | writer.there
    with service.client() as client:
        assert subjects_of(client) == set(everyone)
        for space_id in (second, first):
            assert client.post(f"/admin/spaces/{space_id}/activate").status_code == 200
            seen = client.get(f"/admin/spaces/{space_id}").json()
            assert (seen["templates"], seen["missing"]) == (len(everyone), 0)
        assert check_nobody_lost(client, everyone, writer.gone) == {first}
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
