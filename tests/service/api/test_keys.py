"""Keys over HTTP: made once, limited in time and rights, revoked at once, the last admin key kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_access import make_key
from tests.service.api.test_errors import enroll, problem


@pytest.fixture
def keyed(start_service: StartService, tmp_path: Path) -> Iterator[tuple[Service, httpx.Client]]:
    """A service with one key, and a client of that admin."""
    data = tmp_path / "keyed"
    data.mkdir()
    key = make_key(data, "admin")
    service = start_service(data=data)
    with service.client(key) as admin:
        yield service, admin


def made(admin: httpx.Client, **asked: Any) -> dict[str, Any]:
    answer = admin.post("/admin/keys", json=asked)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def in_s(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def wait_until_expired(key: dict[str, Any]) -> None:
    left = datetime.fromisoformat(key["expires_at"]) - datetime.now(UTC)
    time.sleep(max(0.0, left.total_seconds()) + 0.1)


def test_whoami_tells_what_the_key_of_the_request_may_do(keyed: tuple[Service, httpx.Client]) -> None:
    service, admin = keyed
    key = made(admin, role="probe", label="gate 3", permissions=["investigate"])
    with service.client(key["token"]) as probe:
        assert probe.get("/whoami").json() == {
            "key_id": key["key_id"],
            "role": "probe",
            "label": "gate 3",
            "permissions": ["investigate"],
            "open_access": False,
        }
    assert admin.get("/whoami").json()["role"] == "admin"
    with service.client() as stranger:
        problem(stranger.get("/whoami"), 401, "unauthorized")
    # Asked at each visit of the console, and about nobody: the audit log says nothing of it.
    read = [entry["detail"].get("route") for entry in admin.get("/admin/audit").json()["entries"]]
    assert "/whoami" not in read


def test_whoami_says_that_access_is_open(client: httpx.Client) -> None:
    me = client.get("/whoami").json()
    assert (me["role"], me["open_access"]) == ("admin", True)


def test_a_key_made_over_http_works_and_its_token_is_shown_once(
    keyed: tuple[Service, httpx.Client],
) -> None:
    service, admin = keyed
    key = made(admin, role="operator", label="gate 3")
    assert key["state"] == "active"
    with service.client(key["token"]) as operator:
        assert operator.get("/subjects").status_code == 200
        problem(operator.get("/admin/keys"), 403, "forbidden")
    listed = {one["key_id"]: one for one in admin.get("/admin/keys").json()["keys"]}
    assert listed[key["key_id"]] | {"token": key["token"]} == key | {
        "last_used_at": listed[key["key_id"]]["last_used_at"]
    }
    assert listed[key["key_id"]]["last_used_at"] is not None
    secret = key["token"].rsplit("_", 1)[1].encode()
    assert service.log is not None
    for path in (*service.data.rglob("*"), service.log):
        assert not path.is_file() or secret not in path.read_bytes(), path.name


def test_a_key_expires_and_says_so(keyed: tuple[Service, httpx.Client]) -> None:
    service, admin = keyed
    key = made(admin, role="probe", expires_at=in_s(8))
    with service.client(key["token"]) as probe:
        problem(probe.get("/subjects"), 403, "forbidden")
        wait_until_expired(key)
        assert "expired" in problem(probe.get("/subjects"), 401, "unauthorized")["detail"]
    (state,) = [
        one["state"] for one in admin.get("/admin/keys").json()["keys"] if one["key_id"] == key["key_id"]
    ]
    assert state == "expired"
    past = problem(
        admin.post("/admin/keys", json={"role": "probe", "expires_at": in_s(-5)}), 422, "invalid_parameter"
    )
    assert "future" in past["detail"]


def test_investigate_shows_a_probe_key_every_candidate(keyed: tuple[Service, httpx.Client]) -> None:
    service, admin = keyed
    subjects = ("s01", "s02", "s03", "s04", "s05", "s06")
    for subject in subjects:
        assert enroll(admin, subject, sample_bytes(subject), allow_duplicate="true").status_code == 201
    seen = {}
    for name, permissions in (("plain", []), ("investigator", ["investigate"])):
        with service.client(made(admin, role="probe", permissions=permissions)["token"]) as probe:
            answer = probe.post(
                "/identify",
                params={"top_k": "100"},
                content=sample_bytes("s01"),
                headers={"content-type": "image/jpeg"},
            )
            (seen[name],) = answer.json()["results"]
            problem(enroll(probe, "s07", sample_bytes("s07")), 403, "forbidden")
    assert len(seen["plain"]["candidates"]) < len(subjects)
    assert {one["subject_id"] for one in seen["investigator"]["candidates"]} == set(subjects)
    scores = [one["score"] for one in seen["investigator"]["candidates"]]
    assert any(score != round(score, 2) for score in scores)


def test_a_revoked_key_stops_at_once_and_the_last_admin_key_stays(
    keyed: tuple[Service, httpx.Client],
) -> None:
    service, admin = keyed
    key = made(admin, role="operator")
    with service.client(key["token"]) as operator:
        assert operator.get("/subjects").status_code == 200
        assert admin.delete(f"/admin/keys/{key['key_id']}").json()["state"] == "revoked"
        problem(operator.get("/subjects"), 401, "unauthorized")
    # Again: it is revoked, as asked.
    assert admin.delete(f"/admin/keys/{key['key_id']}").json()["state"] == "revoked"
    problem(admin.delete("/admin/keys/0123456789ab"), 404, "key_not_found")
    (own,) = [one for one in admin.get("/admin/keys").json()["keys"] if one["role"] == "admin"]
    # An admin key that has expired is none.
    wait_until_expired(made(admin, role="admin", expires_at=in_s(5)))
    kept = problem(admin.delete(f"/admin/keys/{own['key_id']}"), 409, "last_admin_key")
    assert "allow_last=true" in kept["detail"]
    assert admin.get("/admin/keys").status_code == 200
    other = made(admin, role="admin")
    assert admin.delete(f"/admin/keys/{own['key_id']}").status_code == 200
    with service.client(other["token"]) as second:
        gone = second.delete(f"/admin/keys/{other['key_id']}", params={"allow_last": "true"})
        assert gone.json()["state"] == "revoked"
        problem(second.get("/admin/keys"), 401, "unauthorized")


def test_the_first_key_made_over_http_is_an_admins(start_service: StartService, tmp_path: Path) -> None:
    service = start_service(data=tmp_path / "open")
    with service.client() as local:
        problem(local.post("/admin/keys", json={"role": "probe"}), 409, "last_admin_key")
        key = made(local, role="admin")
        # Access is closed at once.
        problem(local.get("/subjects"), 401, "unauthorized")
    with service.client(key["token"]) as admin:
        assert admin.get("/subjects").status_code == 200


def test_the_last_use_outlives_the_process(keyed: tuple[Service, httpx.Client]) -> None:
    service, admin = keyed
    key = made(admin, role="probe")
    with service.client(key["token"]) as probe:
        problem(probe.get("/subjects"), 403, "forbidden")
    assert service.stop() == 0
    service.start()
    listed = {one["key_id"]: one for one in admin.get("/admin/keys").json()["keys"]}
    assert listed[key["key_id"]]["last_used_at"] is not None


def test_keys_are_listed_in_pages(keyed: tuple[Service, httpx.Client]) -> None:
    _service, admin = keyed
    wanted = {made(admin, role="probe")["key_id"] for _ in range(4)}
    found, cursor = [], None
    while True:
        page = admin.get("/admin/keys", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        found += [one["key_id"] for one in page["keys"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert found == sorted(found)
    assert wanted < set(found)
    problem(admin.get("/admin/keys", params={"cursor": "../.."}), 422, "invalid_parameter")
