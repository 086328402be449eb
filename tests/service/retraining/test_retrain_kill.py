"""SIGKILL at random moments of a retraining, of its process, of the service, or of both: never stuck, never
two active spaces. `KILLS=20` asks for as many as the issue does."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.jobs.process import ProcessId
from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_errors import enroll
from tests.service.spaces.load import check_nobody_lost
from tests.training.jobs.retrain_sets import write_set

KILLS = int(os.environ.get("KILLS", "2"))
WAIT_S = 1800.0
SUBJECTS = ("s01", "s02", "s03", "s04")
# What the killer waits for, and the longest that it waits behind that.
MOMENTS = {
    "data": 4.0,
    "training": 6.0,
    "evaluating": 10.0,
    "exporting": 15.0,
    "registering": 2.0,
    "backfilling": 1.0,
    "activating": 0.3,
}
IN_PROCESS = ("data", "training", "evaluating", "exporting")
# Between two kills of the same job it must get further, or it is given up with that reason.
GIVEN_UP = "given up after"
COLUMNS = ("state", "stage", "progress", "message", "event_seq", "process", "metrics")


def job_row(data: Path, job_id: str) -> dict[str, Any]:
    """As it stands in the table, whether or not a service runs."""
    with closing(sqlite3.connect(data / "halflight.db", timeout=60)) as db:
        query = f"SELECT {', '.join(COLUMNS)} FROM jobs WHERE job_id = ?"  # noqa: S608
        row = db.execute(query, (job_id,)).fetchone()
    return dict(zip(COLUMNS, row, strict=True))


def ended(row: Mapping[str, Any]) -> bool:
    return row["state"] in ("succeeded", "failed", "cancelled")


def ahead(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The moments that the job has not passed yet."""
    names = tuple(MOMENTS)
    return names[names.index(row["stage"]) :] if row["stage"] in names else names


def wait_stage(data: Path, job_id: str, stage: str) -> bool:
    """Whether the job came to this stage; False where it ended before it did."""
    end = time.monotonic() + WAIT_S
    while True:
        row = job_row(data, job_id)
        if row["stage"] == stage:
            return True
        if ended(row):
            return False
        assert time.monotonic() < end, f"stuck: {row}"
        time.sleep(0.02)


def kill_process(data: Path, job_id: str) -> bool:
    """SIGKILL for whatever works on the job, and what it started; False where nothing does."""
    stored = job_row(data, job_id)["process"]
    found = ProcessId.parse(json.loads(stored)) if stored else None
    if found is None or not found.alive():
        return False
    found.kill_group(signal.SIGKILL)
    return True


def whole_space(data: Path) -> str:
    """The one active space, with every sample in it."""
    missing = (
        "SELECT COUNT(*) FROM samples s WHERE NOT EXISTS"
        " (SELECT 1 FROM templates t WHERE t.sample_id = s.sample_id AND t.space_id = ?)"
    )
    with closing(sqlite3.connect(data / "halflight.db", timeout=60)) as db:
        ((active,),) = db.execute("SELECT space_id FROM spaces WHERE state = 'active'").fetchall()
        assert db.execute(missing, (active,)).fetchone() == (0,)
    return str(active)


def check(service: Service, enrolled: Mapping[str, bytes]) -> None:
    """One active space, nobody lost. The job may activate another one meanwhile."""
    before = whole_space(service.data)
    with service.client() as client:
        answered = check_nobody_lost(client, enrolled, set())
    assert answered <= {before, whole_space(service.data)}


def moves(data: Path, job_id: str, before: int) -> None:
    """Whoever was killed, the job says something new, or is over."""
    end = time.monotonic() + WAIT_S
    while (row := job_row(data, job_id))["event_seq"] == before and not ended(row):
        assert time.monotonic() < end, f"stuck: {row}"
        time.sleep(0.05)


def submit(client: httpx.Client) -> str:
    asked = {"dataset": "patterns", "preset": "adapter", "iterations": 12, "activate": "if_better"}
    answer = client.post("/admin/retrain", json=asked)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def go_back(client: httpx.Client, first: str) -> None:
    """To the space that everything began in, alone."""
    assert client.post(f"/admin/spaces/{first}/activate").status_code == 200
    for space in client.get("/admin/spaces").json()["spaces"]:
        if space["space_id"] != first:
            assert client.delete(f"/admin/spaces/{space['space_id']}").status_code == 200


@pytest.mark.slow
def test_a_retraining_killed_at_any_moment_resumes_or_fails_with_a_reason(
    start_service: StartService, tmp_path: Path
) -> None:
    data, sets, moments = tmp_path / "killed", tmp_path / "sets", random.Random(KILLS)
    write_set(sets / "patterns")
    env = {"HALFLIGHT_DATASETS": str(sets), "HALFLIGHT_JOB_LEASE_S": "60", "OMP_NUM_THREADS": "1"}
    env |= {"HALFLIGHT_LOG_POLL_S": "0.05", "HALFLIGHT_INTRA_OP_THREADS": "1"}
    enrolled = {subject: sample_bytes(subject) for subject in SUBJECTS}
    service = start_service(data=data, **env)
    with service.client() as client:
        for subject, photo in enrolled.items():
            assert enroll(client, subject, photo).status_code == 201
        (first,) = (space["space_id"] for space in client.get("/admin/spaces").json()["spaces"])
        job_id = submit(client)
    killed: list[tuple[str, str]] = []
    outcomes: Counter[str] = Counter()
    while len(killed) < KILLS:
        stage = moments.choice(ahead(job_row(data, job_id)))
        victim = moments.choice(("service", "process", "both")) if stage in IN_PROCESS else "service"
        if wait_stage(data, job_id, stage):
            time.sleep(moments.uniform(0, MOMENTS[stage]))
            before = job_row(data, job_id)
            hit = victim != "process"
            if victim != "service":
                hit |= kill_process(data, job_id)
            if victim != "process":
                service.kill()
                service = start_service(data=data, **env)
            if hit and not ended(before):
                killed.append((victim, before["stage"]))
                moves(data, job_id, before["event_seq"])
            check(service, enrolled)
        if ended(row := job_row(data, job_id)):
            outcomes[outcome(row)] += 1
            with service.client() as client:
                go_back(client, first)
                job_id = submit(client)
    # Nobody is killed any more: the last one has its way to the end.
    end = time.monotonic() + WAIT_S
    while not ended(row := job_row(data, job_id)):
        assert time.monotonic() < end, f"stuck: {row}"
        time.sleep(0.1)
    outcomes[outcome(row)] += 1
    check(service, enrolled)
    with service.client() as client:
        spaces = client.get("/admin/spaces").json()["spaces"]
        client.post(f"/admin/jobs/{submit(client)}/cancel")
    assert [space["state"] for space in spaces].count("active") == 1
    print("killed:", killed)
    print("ended:", dict(outcomes))
    assert len(killed) == KILLS


def outcome(row: Mapping[str, Any]) -> str:
    """Succeeded, or failed with the one reason that kills can give."""
    if row["state"] == "succeeded":
        return "activated" if json.loads(row["metrics"])["activated"] else "succeeded"
    assert row["state"] == "failed", row
    assert GIVEN_UP in row["message"], row
    return "given up"
