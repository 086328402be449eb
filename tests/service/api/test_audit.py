"""The audit log over HTTP and on the command line: who did what to whom, and nothing of an erased one."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_access import make_key
from tests.service.api.test_errors import enroll, identify, problem
from tests.service.cli.command import fails, succeeds


@pytest.fixture
def strict(start_service: StartService, tmp_path: Path) -> Iterator[tuple[Service, dict[str, httpx.Client]]]:
    """A service that answers nothing that is not audited, and a client for each role."""
    data = tmp_path / "strict"
    data.mkdir()
    keys = {role: make_key(data, role) for role in ("probe", "admin")}
    service = start_service(data=data, HALFLIGHT_AUDIT="strict")
    clients = {role: service.client(key) for role, key in keys.items()}
    yield service, clients
    for client in clients.values():
        client.close()


def entries(admin: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    answer = admin.get("/admin/audit", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


def verify_form(client: httpx.Client, subject: str, photo: bytes) -> httpx.Response:
    files = {"image": ("p.jpg", photo, "image/jpeg")}
    return client.post("/verify", data={"subject_id": subject}, files=files)


def test_everything_is_audited_and_an_erased_subject_is_unlinked(
    strict: tuple[Service, dict[str, httpx.Client]], tmp_path: Path
) -> None:
    service, clients = strict
    admin, probe = clients["admin"], clients["probe"]
    for subject in ("anna-0815", "bert-0815"):
        photo = sample_bytes("s01" if subject.startswith("anna") else "s02")
        assert enroll(admin, subject, photo, allow_duplicate="true").status_code == 201
    (found,) = identify(probe, sample_bytes("s01", "vis_2.jpg")).json()["results"]
    assert found["candidates"][0]["subject_id"] == "anna-0815"
    score = verify_form(admin, "anna-0815", sample_bytes("s01", "vis_2.jpg")).json()["score"]
    assert admin.get("/subjects/anna-0815").status_code == 200
    problem(admin.get("/subjects/nobody"), 404, "subject_not_found")
    problem(probe.get("/subjects"), 403, "forbidden")
    with service.client() as stranger:
        for _ in range(3):
            problem(stranger.get("/subjects"), 401, "unauthorized")
    keys = {key["role"]: key["key_id"] for key in admin.get("/admin/keys").json()["keys"]}

    time.sleep(1)  # Nobody waits for the entry of a refusal.
    mine = entries(admin, subject_id="anna-0815")
    assert [(one["action"], one["actor"]) for one in mine] == [
        ("read", keys["admin"]),
        ("subject.verify", keys["admin"]),
        ("subject.identify", keys["probe"]),
        ("subject.enrol", keys["admin"]),
    ]
    (name,) = {one["subject"] for one in mine}
    assert mine[1]["detail"]["score"] == pytest.approx(score, abs=1e-5)
    best = mine[2]["detail"]["candidates"][0]
    assert (best["subject"], best["accepted"]) == (name, True)
    assert mine[2]["detail"]["decision"] == "match"
    refusals = {(one["actor"], one["detail"]["code"]) for one in entries(admin, action="access.refuse")}
    assert refusals == {(keys["probe"], "forbidden"), ("nobody", "unauthorized")}
    assert "anna-0815" not in admin.get("/admin/audit", params={"limit": 1000}).text
    kept = tmp_path / "head.json"
    kept.write_text(admin.get("/admin/audit/head").text)

    receipt = admin.delete("/subjects/anna-0815").json()
    problem(admin.get("/admin/audit", params={"subject_id": "anna-0815"}), 404, "subject_not_found")
    (erasure,) = entries(admin, action="subject.erase")
    assert (erasure["audit_id"], erasure["subject"]) == (receipt["audit_id"], name)
    with sqlite3.connect(service.data / "halflight.db") as database:
        linked = database.execute("SELECT subject_id FROM audit_subjects").fetchall()
        left = database.execute("SELECT subject_id FROM subjects").fetchall()
    database.close()
    assert len(left) == 1
    assert linked == left

    data = ("--data", str(service.data))
    succeeds("audit", "verify", *data, "--head", kept)
    export = tmp_path / "audit.jsonl"
    succeeds("audit", "export", export, *data)
    assert export.stat().st_mode & 0o077 == 0
    succeeds("audit", "verify", export, "--public-key", json.loads(kept.read_text())["public_key"])
    fails(1, "audit", "verify", export, "--public-key", "0" * 64, expected=["another key"])
    with sqlite3.connect(service.data / "halflight.db") as database:
        database.execute("UPDATE audit_log SET actor = 'x' WHERE audit_id = 4")
    database.close()
    fails(1, "audit", "verify", *data, expected=["audit entry 4: it was changed"])


def test_strict_answers_nothing_that_cannot_be_audited(
    strict: tuple[Service, dict[str, httpx.Client]],
) -> None:
    service, clients = strict
    admin, probe = clients["admin"], clients["probe"]
    photo = sample_bytes("s01")
    assert enroll(admin, "anna", photo).status_code == 201

    def change(statement: str) -> None:
        with sqlite3.connect(service.data / "halflight.db", timeout=30) as database:
            database.execute(statement)
        database.close()

    change("CREATE TRIGGER no_audit BEFORE INSERT ON audit_log BEGIN SELECT RAISE(ABORT, 'no'); END")
    refused = identify(probe, photo)
    assert "anna" not in refused.text
    problem(refused, 503, "audit_unavailable")
    problem(admin.get("/subjects/anna"), 503, "audit_unavailable")
    assert enroll(admin, "bert", sample_bytes("s02")).status_code == 503
    assert admin.delete("/subjects/anna").status_code == 503
    with service.client() as stranger:
        problem(stranger.get("/subjects"), 401, "unauthorized")
    change("DROP TRIGGER no_audit")
    assert identify(probe, photo).json()["results"][0]["decision"] == "match"
    assert admin.delete("/subjects/anna").status_code == 200


def test_the_log_is_paged_and_a_wrong_filter_is_refused(client: httpx.Client) -> None:
    for _ in range(3):
        assert client.get("/subjects").status_code == 200
    time.sleep(1.5)
    first = client.get("/admin/audit", params={"limit": 2}).json()
    second = client.get("/admin/audit", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    ids = [one["audit_id"] for one in first["entries"] + second["entries"]]
    assert len(ids) >= 3
    assert ids == sorted(set(ids), reverse=True)
    for wrong in ({"cursor": "x"}, {"since": "yesterday"}, {"subject": "a", "subject_id": "b"}):
        problem(client.get("/admin/audit", params=wrong), 422, "invalid_parameter")
