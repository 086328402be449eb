"""Legal hold, consent and end of a subject over HTTP."""

from __future__ import annotations

import base64
import io
import json
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_access import make_key
from tests.service.api.test_errors import enroll, identify, problem

PHOTO, OTHER = sample_bytes("s02"), sample_bytes("s02", "vis_2.jpg")
Clients = dict[str, httpx.Client]


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory, bundle_dir: Path) -> Iterator[Clients]:
    """An operator and an admin of one service; what it enrols, no other test meets."""
    data = tmp_path_factory.mktemp("terms") / "data"
    data.mkdir()
    keys = {role: make_key(data, role) for role in ("operator", "admin")}
    service = Service(data, {"HALFLIGHT_BUNDLE_DIR": str(bundle_dir)}).start()
    made = {role: service.client(key) for role, key in keys.items()}
    made["key_id"] = httpx.Client(headers={"id": keys["admin"].split("_")[1]})
    yield made
    for client in made.values():
        client.close()
    service.stop()


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def test_a_hold_stops_every_erasure_until_an_admin_lifts_it(clients: Clients) -> None:
    operator, admin = clients["operator"], clients["admin"]
    by = clients["key_id"].headers["id"]
    for subject in ("h-1", "h-2"):
        assert enroll(operator, subject, PHOTO, OTHER, duplicates="ignore").status_code == 201
    reason = {"reason": " case 4711\nof the court "}
    problem(operator.put("/v1/subjects/h-1/hold", json=reason), 403, "forbidden")
    problem(operator.delete("/v1/subjects/h-1/hold"), 403, "forbidden")
    problem(admin.delete("/v1/subjects/h-1/hold"), 404, "hold_not_found")
    problem(admin.put("/v1/subjects/h-0/hold", json=reason), 404, "subject_not_found")
    for wrong in (
        {},
        {"reason": " "},
        {"reason": "a\x00"},
        {"reason": "x" * 1001},
        {"reason": 4},
        {"why": "x"},
    ):
        problem(admin.put("/v1/subjects/h-1/hold", json=wrong), 422, "invalid_parameter")
    held = admin.put("/v1/subjects/h-1/hold", json=reason).json()["hold"]
    assert (held["by"], held["reason"]) == (by, "case 4711\nof the court")
    shown = operator.get("/v1/subjects/h-1").json()
    assert shown["hold"] == held
    sample = shown["samples"][0]["sample_id"]
    named = [{"subject_id": "h-1", "since": held["since"], "by": by}]
    for refused in (
        operator.delete("/v1/subjects/h-1"),
        operator.delete(f"/v1/subjects/h-1/samples/{sample}"),
        operator.post("/v1/subjects/delete", json={"subject_ids": ["h-2", "h-1"]}),
        operator.post("/v1/subjects/h-2/merge", json={"subject_id": "h-1"}),
    ):
        told = problem(refused, 409, "on_hold")
        assert told["held"] == named
        assert by in told["detail"]
    assert len(operator.get("/v1/subjects/h-1").json()["samples"]) == 2
    assert operator.get("/v1/subjects/h-2").status_code == 200
    # Another reason leaves who placed it and when; a rename takes the hold along.
    again = admin.put("/v1/subjects/h-1/hold", json={"reason": "case 4712"}).json()["hold"]
    assert again == held | {"reason": "case 4712"}
    renamed = operator.patch("/v1/subjects/h-1", json={"subject_id": "h-3"}).json()
    assert renamed["hold"] == again
    problem(operator.delete("/v1/subjects/h-3"), 409, "on_hold")
    assert admin.delete("/v1/subjects/h-3/hold").json()["hold"] is None
    assert operator.delete("/v1/subjects/h-3").json()["erased"]["samples"] == 2
    actions = [
        (entry["action"], entry["detail"])
        for entry in admin.get("/v1/admin/audit", params={"actor": by}).json()["entries"][::-1]
        if entry["action"].startswith(("subject.hold", "subject.release"))
    ]
    assert actions == [
        ("subject.hold", {}),
        ("subject.hold.reason", {}),
        ("subject.release", {"since": held["since"], "by": by}),
    ]


def test_consent_and_end_are_set_shown_replaced_and_removed(clients: Clients) -> None:
    operator = clients["operator"]
    end = in_days(30)
    sent = enroll(
        operator,
        "c-1",
        PHOTO,
        duplicates="ignore",
        consent_date="2026-03-01",
        consent_reference="form 12",
        expires_at=end,
    )
    assert sent.status_code == 201, sent.text
    body = {
        "subject_id": "c-2",
        "images": [base64.b64encode(PHOTO).decode()],
        "duplicates": "ignore",
        "consent_date": "2026-03-02",
    }
    assert operator.post("/v1/enroll", json=body).status_code == 201
    shown = operator.get("/v1/subjects/c-1").json()
    assert shown["consent"] == {"date": "2026-03-01", "reference": "form 12"}
    assert datetime.fromisoformat(shown["expires_at"]) == datetime.fromisoformat(end)
    assert operator.get("/v1/subjects/c-2").json()["consent"] == {"date": "2026-03-02", "reference": None}
    # Another enrolment without them leaves them.
    assert enroll(operator, "c-1", OTHER, duplicates="ignore").status_code == 201
    assert operator.get("/v1/subjects/c-1").json()["consent"] == shown["consent"]
    change: dict[str, Any] = {"consent": {"date": "2026-04-01"}, "expires_at": None}
    changed = operator.patch("/v1/subjects/c-1", json=change).json()
    assert (changed["consent"], changed["expires_at"]) == ({"date": "2026-04-01", "reference": None}, None)
    changed = operator.patch("/v1/subjects/c-1", json={"metadata": {"a": 1}}).json()
    assert changed["consent"] == {"date": "2026-04-01", "reference": None}
    assert operator.patch("/v1/subjects/c-1", json={"consent": None}).json()["consent"] is None
    merged = operator.post("/v1/subjects/c-1/merge", json={"subject_id": "c-2"})
    assert merged.status_code == 200, merged.text
    assert operator.get("/v1/subjects/c-1").json()["consent"] == {"date": "2026-03-02", "reference": None}
    for wrong in (
        {"consent": {"date": in_days(3)[:10]}},
        {"consent": {"date": "2026-02-30"}},
        {"consent": {"date": 1700000000}},
        {"consent": {"reference": "form"}},
        {"expires_at": in_days(-1)},
        {"expires_at": "2100-01-01T00:00:00"},
        {"expires_at": "9999-12-31T23:59:59-12:00"},
    ):
        problem(operator.patch("/v1/subjects/c-1", json=wrong), 422, "invalid_parameter")
    # A client of Python cannot write half a surrogate pair itself.
    half = b'{"consent": {"date": "2026-03-01", "reference": "\\ud800"}}'
    sent = operator.patch("/v1/subjects/c-1", content=half, headers={"content-type": "application/json"})
    problem(sent, 422, "invalid_parameter")
    for fields in (
        {"consent_reference": "form 12"},
        {"consent_date": "yesterday"},
        {"expires_at": in_days(-1)},
    ):
        told = problem(enroll(operator, "c-3", PHOTO, **fields), 422, "invalid_parameter")
        assert next(iter(fields)) in told["detail"]


def test_a_match_is_noted_and_a_probe_that_is_unknown_is_not(clients: Clients) -> None:
    operator = clients["operator"]
    photo = sample_bytes("s05")
    assert enroll(operator, "m-1", photo).status_code == 201
    assert operator.get("/v1/subjects/m-1").json()["last_matched_at"] is None
    assert identify(operator, sample_bytes("s06")).json()["results"][0]["decision"] == "unknown"
    before = datetime.now(UTC)
    assert identify(operator, photo).json()["results"][0]["decision"] == "match"
    end = time.monotonic() + 30
    while (found := operator.get("/v1/subjects/m-1").json()["last_matched_at"]) is None:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert before <= datetime.fromisoformat(found) <= datetime.now(UTC)


def test_a_service_that_requires_consent_enrols_nobody_without_it(start_service: StartService) -> None:
    service = start_service(HALFLIGHT_REQUIRE_CONSENT="true")
    with service.client() as client:
        told = problem(enroll(client, "a", PHOTO), 422, "consent_missing")
        assert "consent_date" in told["detail"]
        problem(client.get("/v1/subjects/a"), 404, "subject_not_found")
        assert enroll(client, "a", PHOTO, consent_date="2026-03-01").status_code == 201
        assert enroll(client, "a", OTHER).status_code == 201
        client.patch("/v1/subjects/a", json={"consent": None}).raise_for_status()
        problem(enroll(client, "a", PHOTO), 422, "consent_missing")


def test_an_admin_gets_what_is_stored_about_a_subject_and_it_is_audited(clients: Clients) -> None:
    operator, admin = clients["operator"], clients["admin"]
    photo = sample_bytes("s08")
    assert enroll(operator, "x-1", photo, display_name="Zoë").status_code == 201
    assert identify(operator, photo).json()["results"][0]["decision"] == "match"
    problem(operator.get("/v1/subjects/x-1/export"), 403, "forbidden")
    problem(admin.get("/v1/subjects/x-0/export"), 404, "subject_not_found")
    sample = operator.get("/v1/subjects/x-1").json()["samples"][0]["sample_id"]
    end = time.monotonic() + 30
    while True:
        answer = admin.get("/v1/subjects/x-1/export")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
        assert answer.headers["cache-control"] == "no-store"
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            entries = {one["action"]: one for one in json.loads(archive.read("audit.json"))}
            pictures = [name for name in archive.namelist() if name.startswith(f"crops/{sample}-")]
            assert pictures
            for name in pictures:
                assert archive.read(name).startswith(b"\x89PNG")
            assert json.loads(archive.read("subject.json"))["display_name"] == "Zoë"
        if "subject.identify" in entries:
            break
        assert time.monotonic() < end
        time.sleep(0.1)
    (candidate,) = entries["subject.identify"]["detail"]["candidates"]
    assert candidate["accepted"] is True
    assert entries["subject.export"]["actor"] == clients["key_id"].headers["id"]
