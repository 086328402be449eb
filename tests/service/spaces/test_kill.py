"""SIGKILL at random moments of backfill and activation. `KILLS=20` asks for as many as the issue does; on a
busy machine that takes longer than a test may: `-o faulthandler_timeout=7200`."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, text

from faces.bundle import read
from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_errors import enroll, identify
from tests.service.cli.command import mirrored
from tests.service.spaces.support import variant, wait_state
from tests.service.store.support import samples_by_subject

KILLS = int(os.environ.get("KILLS", "3"))
SUBJECTS = tuple(f"s{i:02}" for i in range(1, 14))
# What the killer waits for, and the longest that it waits behind that.
MOMENTS = {"filling": 1.0, "ready": 0.1, "activating": 0.1, "activated": 0.5}
REACHED_S = 600.0
# Between two requests, so that the filling finds gaps.
PAUSE_S = 0.2
QUICK = {"HALFLIGHT_LOG_POLL_S": "0.05", "HALFLIGHT_INTRA_OP_THREADS": "1"}


@dataclass
class Ledger:
    """What was acknowledged: photos by subject that must be found, and subjects that must not."""

    there: dict[str, bytes] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    # Sent, and killed before the answer: either outcome is right.
    unsure: set[str] = field(default_factory=set)


def people(client: httpx.Client, ledger: Ledger, round_: int) -> None:
    """Enrolments and erasures while the spaces change."""
    for i in range(1000):
        name, photo = f"r{round_}-{i}", mirrored(SUBJECTS[i % len(SUBJECTS)], "vis_2.jpg")
        ledger.unsure.add(name)
        assert enroll(client, name, photo).status_code == 201
        ledger.unsure.discard(name)
        ledger.there[name] = photo
        time.sleep(PAUSE_S)
        if i % 2:
            ledger.unsure.add(name)
            del ledger.there[name]
            assert client.delete(f"/subjects/{name}").status_code == 200
            ledger.unsure.discard(name)
            ledger.gone.add(name)


def spaces(client: httpx.Client, other: dict[str, str], steps: list[str]) -> None:
    """To and fro: fill the space that is not active, from nothing, and activate it."""
    while True:
        states = {s["space_id"]: s["state"] for s in client.get("/admin/spaces").json()["spaces"]}
        active = next(space_id for space_id, state in states.items() if state == "active")
        (target,) = set(other) - {active}
        if target in states and states[target] != "backfilling":
            assert client.delete(f"/admin/spaces/{target}").status_code == 200
            steps.append("deleted")
        assert client.post("/admin/spaces", json={"bundle": other[target]}).status_code == 201
        assert client.post(f"/admin/spaces/{target}/backfill").status_code == 202
        steps.append("filling")
        wait_state(client, target, "ready")
        steps.append("ready")
        steps.append("activating")
        assert client.post(f"/admin/spaces/{target}/activate").status_code == 200
        steps.append("activated")


def until_killed(work: Callable[[], None]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        except httpx.HTTPError:
            return

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def wait_step(steps: list[str], moment: str, worker: threading.Thread) -> None:
    """Until the spaces come to this step the next time."""
    before, end = steps.count(moment), time.monotonic() + REACHED_S
    while steps.count(moment) == before and worker.is_alive():
        assert time.monotonic() < end, f"never {moment}: {steps}"
        time.sleep(0.001)


def check(service: Service, url: str, ledger: Ledger, bundles: dict[str, str]) -> str:
    """Exactly one active space, no template missing in it, nobody lost, nobody back."""
    missing = (
        "SELECT COUNT(*) FROM samples s WHERE NOT EXISTS"
        " (SELECT 1 FROM templates t WHERE t.sample_id = s.sample_id AND t.space_id = :active)"
    )
    orphans = "SELECT COUNT(*) FROM crops WHERE sample_id NOT IN (SELECT sample_id FROM samples)"
    engine = create_engine(url.replace("+aiosqlite", ""))
    with engine.connect() as db:
        ((active,),) = db.execute(text("SELECT space_id FROM spaces WHERE state = 'active'")).all()
        assert db.execute(text(missing), {"active": active}).scalar_one() == 0
        assert db.execute(text(orphans)).scalar_one() == 0
    engine.dispose()
    subjects = samples_by_subject(url, service.data).keys()
    assert subjects >= set(ledger.there)
    assert not subjects & ledger.gone
    assert subjects <= set(ledger.there) | ledger.unsure
    assert active in bundles
    with service.client() as client:
        for name, photo in list(ledger.there.items())[-6:]:
            answer = identify(client, photo, top_k="100").json()
            assert answer["space_id"] == active
            candidates = answer["results"][0]["candidates"]
            found = {candidate["subject_id"]: candidate["score"] for candidate in candidates}
            assert found[name] > 0.999
            assert not found.keys() & ledger.gone
    return str(active)


@pytest.mark.slow
def test_a_service_killed_at_any_moment_keeps_its_spaces_consistent(
    start_service: StartService, tmp_path: Path, bundle_dir: Path, database_url: str
) -> None:
    """Over SQLite, and over PostgreSQL."""
    env = QUICK | {"HALFLIGHT_DATABASE_URL": database_url}
    data, ledger, moments = tmp_path / "killed", Ledger(), random.Random(KILLS)
    wide = variant(bundle_dir, data / "bundles" / "wide")
    variant(bundle_dir, data / "bundles" / "narrow", columns=(8, 104), name="narrow")
    bundles = {wide.space_id: "wide", read(bundle_dir).manifest.space_id: "narrow"}
    steps: list[str] = []
    service = start_service(data=data, **env)
    with service.client() as client:
        for subject in SUBJECTS:
            photo = sample_bytes(subject)
            assert enroll(client, subject, photo).status_code == 201
            ledger.there[subject] = photo
            more = (mirrored(subject), mirrored(subject, "vis_2.jpg"))
            assert enroll(client, f"{subject}-more", *more).status_code == 201
            ledger.there[f"{subject}-more"] = mirrored(subject)
    for round_ in range(KILLS):
        with service.client() as one, service.client() as other:
            threads = [
                until_killed(lambda client=one: spaces(client, bundles, steps)),  # type: ignore[misc]
                until_killed(lambda client=other: people(client, ledger, round_)),  # type: ignore[misc]  # noqa: B023
            ]
            moment = moments.choice(tuple(MOMENTS))
            wait_step(steps, moment, threads[0])
            time.sleep(moments.uniform(0, MOMENTS[moment]))
            service.kill()
            for thread in threads:
                thread.join()
        steps.append("killed")
        service = start_service(data=data, **env)
        check(service, database_url, ledger, bundles)
    # What was interrupted is finished without being asked for again.
    with service.client() as client:
        states = {s["space_id"]: s["state"] for s in client.get("/admin/spaces").json()["spaces"]}
        for space_id, state in states.items():
            if state == "backfilling":
                wait_state(client, space_id, "ready")
    check(service, database_url, ledger, bundles)
    print("killed at:", [before for before, now in pairwise(steps) if now == "killed"])
    assert steps.count("killed") == KILLS
