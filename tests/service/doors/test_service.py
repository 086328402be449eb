"""Doors of a running service: a wrong file stops its start, and a kill opens nothing later."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_access import make_key
from tests.service.cli.command import fails, succeeds
from tests.service.doors.support import OPEN_TO_ALL, doors_text, relay
from tests.service.live.reader import Reader


def until(done: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def enrol(client: httpx.Client, subject_id: str, person: str) -> None:
    photos = [("images", ("a.jpg", sample_bytes(person), "image/jpeg"))]
    data = {"subject_id": subject_id, "metadata": '{"team": "research"}'}
    client.post("/enroll", data=data, files=photos).raise_for_status()


def identify(client: httpx.Client, person: str = "s01", **params: str) -> dict[str, Any]:
    files = {"image": ("p.jpg", sample_bytes(person), "image/jpeg")}
    answer = client.post("/identify", params={"camera": "entry"} | params, files=files)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def doors(client: httpx.Client) -> dict[str, Any]:
    answer = client.get("/admin/doors")
    answer.raise_for_status()
    (door,) = answer.json()["doors"]
    found: dict[str, Any] = door
    return found


def audited(client: httpx.Client, action: str) -> list[dict[str, Any]]:
    answer = client.get("/admin/audit", params={"action": action, "limit": 100})
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


def test_a_wrong_file_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "doors.toml"
    path.write_text(doors_text().replace("max_fmr", "max_fnr"))
    told = "doors.front.rules[0].max_fnr: there is no such key"
    result = fails(
        2,
        *("serve", "--port", "0", "--data", tmp_path / "data"),
        expected=[told],
        env={"HALFLIGHT_DOORS_FILE": str(path)},
    )
    assert len(result.err.splitlines()) <= 3
    fails(2, "doors", "check", path, expected=[told])


def test_a_missing_secret_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "doors.toml"
    output = 'kind = "http"\nurl = "http://127.0.0.1:9/"\nheader = "X-Key"\nsecret_file = "none.key"'
    path.write_text(doors_text(output=output))
    serve = ("serve", "--port", "0", "--data", tmp_path / "data")
    fails(2, *serve, expected=["doors.front.output", "none.key"], env={"HALFLIGHT_DOORS_FILE": str(path)})


def test_the_command_explains_which_rule_decides(tmp_path: Path) -> None:
    path = tmp_path / "doors.toml"
    path.write_text(doors_text())
    listed = succeeds("doors", "check", path)
    assert "front: dry run, http, cameras entry, yard" in listed.out
    assert "liveness: none; a printed photo or a mask may pass" in listed.out
    asked = ("doors", "check", path, "--at", "2027-02-01T12:00:00Z", "--camera", "entry", "--as")
    ada = succeeds(*asked, "ada")
    assert "front: would open (dry run), by rule everybody (allowed)" in ada.err
    assert "allow everybody: holds" in ada.out
    mallory = succeeds(*asked, "mallory")
    assert "front: stays closed, by rule not-mallory (denied_by_rule)" in mallory.err
    fails(2, "doors", "check", path, "--as", "ada", expected=["--at, --camera"])
    fails(2, *asked[:6], "roof", "--as", "ada", expected=["no door has a camera roof"])


def test_a_dry_run_over_http(start_service: StartService, tmp_path: Path) -> None:
    path = tmp_path / "doors.toml"
    path.write_text(doors_text())
    service = start_service(HALFLIGHT_DOORS_FILE=str(path))
    with service.client() as client:
        enrol(client, "ada", "s01")
        with Reader(client) as reader:
            found = identify(client)
            assert found["results"][0]["decision"] == "match"
            until(lambda: any(one["event"] == "door" for one in reader.events))
            shown = next(one["data"] for one in reader.events if one["event"] == "door")
            decision = next(one["data"] for one in reader.events if one["event"] == "decision")
        assert shown["outcome"] == "would_open"
        assert shown["decision_id"] == decision["event_id"]
        assert shown["subject"]["subject_id"] == "ada"
        assert (shown["liveness"], decision["liveness"]) == ("none", "none")
        door = doors(client)
        assert (door["dry_run"], door["state"], door["liveness"]) == (True, "dry_run", "none")
        (last,) = door["last"]
        (everybody, mallory) = last.pop("rules")
        assert last == shown
        assert (everybody["name"], everybody["holds"], mallory["holds"]) == ("everybody", True, False)
        checks = {one["check"]: (one["met"], one["said"]) for one in everybody["conditions"]}
        assert checks["where"] == (True, "the camera entry")
        assert checks["frames"] == (True, "1 of 1 frames agree, 1 of 1 are asked for")
        (entry,) = audited(client, "door")
        assert entry["detail"]["outcome"] == "would_open"
        asked = {"subject_id": "ada", "camera": "entry"}
        tested = client.post("/admin/doors/front/test", json=asked).json()
        assert (tested["would_open"], tested["rule"], tested["reason"]) == (True, "everybody", "allowed")
        gone = client.post("/admin/doors/front/test", json=asked | {"subject_id": "nobody"}).json()
        assert (gone["would_open"], gone["reason"]) == (False, "subject_gone")
        assert client.post("/admin/doors/back/test", json=asked).json()["code"] == "door_not_found"
        assert len(audited(client, "door.test")) == 2
        assert len(doors(client)["last"]) == 1, "a test is no outcome"
        refused = client.put("/admin/doors/front/mode", json={"dry_run": False})
        assert (refused.status_code, refused.json()["code"]) == (409, "door_not_switchable")
        text = client.get("/metrics").text
        assert 'halflight_door_outcomes_total{door="front",outcome="would_open",reason="allowed"} 1.0' in text


@pytest.mark.slow
def test_an_administrator_switches_a_door_that_may_be_and_a_restart_keeps_it(
    start_service: StartService, tmp_path: Path
) -> None:
    path = tmp_path / "doors.toml"
    data = tmp_path / "data"
    data.mkdir()
    admin_key, operator_key = make_key(data, "admin"), make_key(data, "operator")
    with relay(tmp_path / "calls") as opened:
        switched = doors_text(door='dry_run = "until-switched"\npause_ms = 0', output=opened.output())
        path.write_text(switched)
        service = start_service(data=data, HALFLIGHT_DOORS_FILE=str(path))
        with service.client(admin_key) as client, service.client(operator_key) as operator:
            enrol(client, "ada", "s01")
            door = doors(client)
            assert (door["dry_run"], door["switchable"], door["state"]) == (True, True, "dry_run")
            identify(client)
            until(lambda: [one["outcome"] for one in doors(client)["last"]] == ["would_open"])
            for wrong in ({}, {"dry_run": "maybe"}, {"dry_run": False, "door": "front"}):
                assert client.put("/admin/doors/front/mode", json=wrong).status_code == 422
            assert operator.put("/admin/doors/front/mode", json={"dry_run": False}).status_code == 403
            assert client.put("/admin/doors/back/mode", json={"dry_run": False}).status_code == 404
            assert opened.calls() == []
            answer = client.put("/admin/doors/front/mode", json={"dry_run": False}).json()
            assert (answer["dry_run"], answer["state"]) == (False, "ready")
            identify(client)
            until(lambda: doors(client)["last"][0]["outcome"] == "opened")
            (entry,) = audited(client, "door.switch")
            assert entry["detail"] == {"door": "front", "dry_run": False}
        service.stop()
        service.start()
        with service.client(admin_key) as client:
            assert doors(client)["dry_run"] is False
            client.put("/admin/doors/front/mode", json={"dry_run": True}).raise_for_status()
            identify(client)
            until(lambda: [one["outcome"] for one in doors(client)["last"]] == ["would_open"])
            client.put("/admin/doors/front/mode", json={"dry_run": False}).raise_for_status()
        service.stop()
        # What the file says for good undoes the switch, also for a later file that lets it be switched.
        path.write_text(switched.replace('"until-switched"', "true"))
        service.start()
        with service.client(admin_key) as client:
            assert (doors(client)["dry_run"], doors(client)["switchable"]) == (True, False)
        service.stop()
        path.write_text(switched)
        service.start()
        with service.client(admin_key) as client:
            assert doors(client)["dry_run"] is True
        assert len(opened.calls()) == 1


@pytest.mark.slow
def test_a_door_that_opens_is_not_tested(start_service: StartService, tmp_path: Path) -> None:
    path = tmp_path / "doors.toml"
    with relay(tmp_path / "calls") as opened:
        path.write_text(doors_text(door="dry_run = false", output=opened.output()))
        service = start_service(HALFLIGHT_DOORS_FILE=str(path))
        with service.client() as client:
            asked = {"subject_id": "ada", "camera": "entry"}
            refused = client.post("/admin/doors/front/test", json=asked)
            assert (refused.status_code, refused.json()["code"]) == (409, "door_is_live")
            enrol(client, "ada", "s01")
            identify(client, camera="elsewhere")
            identify(client)
            until(lambda: [one["outcome"] for one in doors(client)["last"]] == ["opened", "opening"])
        assert len(opened.calls()) == 1


@pytest.mark.slow
def test_a_kill_opens_nothing_later(start_service: StartService, tmp_path: Path) -> None:
    """Killed at any moment between the decision and the output: after a restart no door opens, and every
    opening that the relay saw is in the audit log."""
    path = tmp_path / "doors.toml"
    draw = random.Random(4)
    with relay(tmp_path / "calls") as opened:
        path.write_text(doors_text(door="dry_run = false\npause_ms = 0", output=opened.output()))
        service: Service = start_service(HALFLIGHT_DOORS_FILE=str(path))
        with service.client() as client:
            enrol(client, "ada", "s01")
        for _ in range(5):
            with service.client() as client:
                identify(client)
                time.sleep(draw.uniform(0, 0.02))
                service.kill()
            # The relay may be busy with the last request of the process that is gone.
            time.sleep(0.5)
            before = len(opened.calls())
            service.start()
            time.sleep(2.5)
            assert len(opened.calls()) == before
        with service.client() as client:
            openings = [one for one in audited(client, "door") if one["detail"]["outcome"] == "opening"]
        assert len(opened.calls()) <= len(openings) <= 5
        service.stop()
        succeeds("audit", "verify", "--data", service.data)


@pytest.mark.slow
def test_a_deny_rule_closes_the_door_of_a_running_service(
    start_service: StartService, tmp_path: Path
) -> None:
    path = tmp_path / "doors.toml"
    with relay(tmp_path / "calls") as opened:
        rules = OPEN_TO_ALL.replace('"mallory"', '"ada"')
        path.write_text(doors_text(rules, door="dry_run = false", output=opened.output()))
        service = start_service(HALFLIGHT_DOORS_FILE=str(path))
        with service.client() as client:
            enrol(client, "ada", "s01")
            identify(client)
            until(lambda: len(doors(client)["last"]) == 1)
            (last,) = doors(client)["last"]
            assert (last["outcome"], last["reason"]) == ("denied", "denied_by_rule")
        assert opened.calls() == []
