"""Tests with real processes and SIGKILL that nothing acknowledged is lost and nothing erased returns."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import httpx
import pytest

from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_errors import enroll, identify, problem


def best(client: httpx.Client, photo: bytes) -> str | None:
    candidates = identify(client, photo).json()["results"][0]["candidates"]
    return candidates[0]["subject_id"] if candidates else None


@pytest.mark.slow
def test_a_kill_after_201_or_after_an_erasure_loses_nothing(
    start_service: StartService, tmp_path: Path
) -> None:
    data = tmp_path / "killed"
    for round_ in range(3):
        service = start_service(data=data)
        with service.client() as client:
            for earlier in range(round_):
                assert best(client, sample_bytes(f"s0{earlier + 1}")) == f"s{earlier}"
            subject, photo = f"s{round_}", sample_bytes(f"s0{round_ + 1}")
            assert enroll(client, subject, photo).status_code == 201
            service.kill()
    service = start_service(data=data)
    with service.client() as client:
        assert best(client, sample_bytes("s03")) == "s2"
        receipt = client.delete("/subjects/s2")
        assert receipt.status_code == 200
        assert receipt.json()["erased"] == {"samples": 1, "templates": 1, "crops": 2}
        service.kill()
    with start_service(data=data).client() as client:
        assert best(client, sample_bytes("s03")) != "s2"
        problem(client.get("/subjects/s2"), 404, "subject_not_found")


@pytest.mark.slow
def test_a_commit_that_fails_never_answers_201(start_service: StartService) -> None:
    service = start_service()
    with service.client() as client:
        assert enroll(client, "before", sample_bytes("s01")).status_code == 201
        # The fault: the database refuses the row that the transaction writes last.
        with sqlite3.connect(service.data / "halflight.db") as db:
            db.execute(
                "CREATE TRIGGER fault BEFORE INSERT ON audit_log BEGIN SELECT RAISE(ABORT, 'disk full'); END"
            )
        refused = enroll(client, "after", sample_bytes("s02"))
        assert refused.status_code == 503
        problem(refused, 503, "not_ready")
        problem(client.get("/subjects/after"), 404, "subject_not_found")
        assert best(client, sample_bytes("s02")) != "after"
        with sqlite3.connect(service.data / "halflight.db") as db:
            db.execute("DROP TRIGGER fault")
        assert enroll(client, "after", sample_bytes("s02")).status_code == 201
        assert best(client, sample_bytes("s02")) == "after"


@pytest.mark.slow
def test_two_processes_on_one_database_converge(start_service: StartService, tmp_path: Path) -> None:
    data = tmp_path / "both"
    one = start_service(data=data, HALFLIGHT_LOG_POLL_S="0.05")
    two = start_service(data=data, HALFLIGHT_LOG_POLL_S="0.05")
    with one.client() as first, two.client() as second:
        assert enroll(first, "here", sample_bytes("s01")).status_code == 201
        wait_for(second, sample_bytes("s01"), "here")
        assert second.delete("/subjects/here").status_code == 200
        wait_for(first, sample_bytes("s01"), None)


def wait_for(client: httpx.Client, photo: bytes, subject: str | None) -> None:
    for _ in range(200):
        if best(client, photo) == subject:
            return
    raise AssertionError(f"the other process never showed {subject}")


def test_sigterm_stops_the_service_cleanly(start_service: StartService) -> None:
    service = start_service()
    with service.client() as client:
        assert enroll(client, "kept", sample_bytes("s01")).status_code == 201
    assert service.stop() == 0


@pytest.mark.slow
def test_another_bundle_on_a_database_with_templates_is_refused(
    start_service: StartService, service: Service
) -> None:
    own = start_service()
    with own.client() as client:
        assert enroll(client, "kept", sample_bytes("s01")).status_code == 201
    own.stop()
    with sqlite3.connect(own.data / "halflight.db") as db:
        db.execute("PRAGMA foreign_keys = OFF")
        for table in ("templates", "gallery_log", "spaces"):
            db.execute(f"UPDATE {table} SET space_id = 'sp-0000000000000000'")  # noqa: S608
        # Like a database of the first version, which does not record the bundle of its space.
        db.execute("DELETE FROM bundles")
    db.close()
    again = Service(own.data)
    again.start(wait=False)
    assert again.process is not None
    assert again.log is not None
    assert again.process.wait(timeout=60) != 0
    assert "sp-0000000000000000" in again.log.read_text()
