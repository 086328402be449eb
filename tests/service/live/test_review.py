"""Kept crops over HTTP: shown to operators, reviewed by person, enrolled, corrected, erased."""

from __future__ import annotations

import io
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from service.api.events import FRESH
from tests.conftest import Service, sample_bytes
from tests.service.api.test_access import make_key
from tests.service.api.test_audit import entries
from tests.service.api.test_errors import enroll, identify, problem
from tests.service.api.test_keys import made
from tests.service.live.reader import WAIT_S, Reader

NOBODY = "0" * 24
SETTING = "HALFLIGHT_KEEP_PROBES_HOURS"


@pytest.fixture(scope="module")
def keeping(
    tmp_path_factory: pytest.TempPathFactory, bundle_dir: Path
) -> Iterator[tuple[Service, dict[str, httpx.Client]]]:
    """A service that keeps crops of probes, and a client for each kind of key."""
    data = tmp_path_factory.mktemp("review") / "data"
    data.mkdir()
    key = make_key(data, "admin")
    service = Service(data, {SETTING: "1"}).start()
    clients = {"admin": service.client(key)}
    for name, asked in (
        ("operator", {"role": "operator"}),
        ("investigator", {"role": "probe", "permissions": ["investigate"]}),
    ):
        clients[name] = service.client(made(clients["admin"], **asked)["token"])
    yield service, clients
    for client in clients.values():
        client.close()
    service.stop()


def seen(client: httpx.Client, photo: bytes, **query: str) -> dict[str, Any]:
    """Identifies a photo; returns its event, once its crop is kept."""
    with Reader(client) as reader:
        assert identify(client, photo, **query).status_code == 200
        event: dict[str, Any] = reader.decisions(1)[0]
    assert event["crop"] is True
    return event


def kept(service: Service) -> set[str]:
    with sqlite3.connect(service.data / "halflight.db") as database:
        rows = database.execute("SELECT event_id FROM kept_probes").fetchall()
    database.close()
    return {row[0] for row in rows}


def unknown_of(client: httpx.Client, event_id: str, **query: Any) -> dict[str, Any] | None:
    """The unknown face that has this sighting."""
    listed = client.get("/unknowns", params=query).json()["unknowns"]
    found: list[dict[str, Any]] = [one for one in listed if event_id in one["event_ids"]]
    return found[0] if found else None


def test_the_way_of_a_stranger_from_the_first_sighting_to_the_erasure(
    keeping: tuple[Service, dict[str, httpx.Client]],
) -> None:
    service, clients = keeping
    operator, photo = clients["operator"], sample_bytes("s01")
    first = seen(operator, photo, camera="gate-1")
    second = seen(operator, photo, camera="gate-2")
    assert (first["decision"], first["subject"]) == ("unknown", None)
    face = unknown_of(operator, first["event_id"])
    assert face is not None
    assert face["unknown_id"] == first["event_id"]
    assert (face["count"], face["cameras"], face["ignored"]) == (2, ["gate-1", "gate-2"], False)
    assert face["event_ids"] == [second["event_id"], first["event_id"]]
    assert face["first_seen"] < face["last_seen"]

    crop = operator.get(f"/events/{face['best_event_id']}/crop")
    assert crop.headers["content-type"] == "image/png"
    assert crop.headers["cache-control"] == "no-store"
    assert Image.open(io.BytesIO(crop.content)).size == (112, 112)

    asked = {"subject_id": "anna", "display_name": "Anna A.", "metadata": {"desk": 7}}
    answer = operator.post(f"/unknowns/{second['event_id']}/enrol", json=asked)
    assert answer.status_code == 201, answer.text
    assert [sample["existing"] for sample in answer.json()["samples"]] == [False, True]
    assert unknown_of(operator, first["event_id"]) is None
    subject = operator.get("/subjects/anna").json()
    assert (subject["display_name"], subject["metadata"]) == ("Anna A.", {"desk": 7})
    known = seen(operator, sample_bytes("s01", "vis_2.jpg"))
    assert known["subject"] == {"subject_id": "anna", "display_name": "Anna A."}

    ours = {first["event_id"], second["event_id"], known["event_id"]}
    assert ours <= kept(service)
    assert operator.delete("/subjects/anna").status_code == 200
    assert not ours & kept(service)
    problem(operator.get(f"/events/{known['event_id']}/crop"), 404, "event_not_found")
    # Who looks at the decisions again is not sent to crops that are no more. A fresh one may be in between.
    time.sleep(FRESH.total_seconds())
    with Reader(operator, recent=3) as reader:
        again = {one["event_id"]: (one["crop"], one["subject"]) for one in reader.decisions(3)}
    assert again == dict.fromkeys(ours, (False, None))


def test_an_ignored_face_stays_out_of_sight_and_comes_back_when_asked(
    keeping: tuple[Service, dict[str, httpx.Client]],
) -> None:
    _, clients = keeping
    operator, photo = clients["operator"], sample_bytes("s05")
    event = seen(operator, photo)
    ignored = operator.post(f"/unknowns/{event['event_id']}/ignore", json={})
    assert ignored.json()["ignored"] is True
    again = seen(operator, photo)
    assert unknown_of(operator, again["event_id"]) is None
    face = unknown_of(operator, again["event_id"], ignored=True)
    assert face is not None
    assert face["ignored"] is True
    back = operator.post(f"/unknowns/{face['unknown_id']}/ignore", json={"ignored": False})
    assert back.json()["count"] == face["count"]
    assert unknown_of(operator, again["event_id"]) is not None


def test_a_forgotten_face_is_gone_with_every_picture_at_once(
    keeping: tuple[Service, dict[str, httpx.Client]],
) -> None:
    service, clients = keeping
    operator, photo = clients["operator"], sample_bytes("s14")
    ours = {seen(operator, photo)["event_id"] for _ in range(2)}
    other = seen(operator, sample_bytes("s12", "vis_2.jpg"))["event_id"]
    forgotten = operator.delete(f"/unknowns/{min(ours)}")
    assert forgotten.json() == {"unknown_id": min(ours), "erased": 2}
    assert not ours & kept(service)
    assert other in kept(service)
    problem(operator.delete(f"/unknowns/{min(ours)}"), 404, "unknown_not_found")
    (entry,) = entries(clients["admin"], action="unknown.forget")
    assert entry["detail"] == {"unknown_id": min(ours), "sightings": 2}


def test_a_corrected_decision_is_feedback_and_its_face_an_unknown_one(
    keeping: tuple[Service, dict[str, httpx.Client]],
) -> None:
    service, clients = keeping
    operator = clients["operator"]
    enroll(operator, "bert", sample_bytes("s09"))
    enroll(operator, "cleo", sample_bytes("s10"))
    event = seen(operator, sample_bytes("s09", "vis_2.jpg"), camera="gate-3")
    assert event["subject"]["subject_id"] == "bert"
    path = f"/events/{event['event_id']}/correct"
    said = problem(operator.post(path, json={"subject_id": "bert"}), 422, "invalid_parameter")
    # The fuzzing knows these two refusals by their texts: they depend on what the decision named.
    assert said["detail"] == "the decision names this subject already"
    problem(operator.post(path, json={"subject_id": "nobody"}), 404, "subject_not_found")
    done = operator.post(path, json={})
    assert done.json() == {"event_id": event["event_id"], "was": "bert", "now": None}
    (entry,) = entries(clients["admin"], action="decision.correct")
    assert entry["detail"] == {
        "event_id": event["event_id"],
        "space_id": event["space_id"],
        "decision": "match",
        "score": pytest.approx(event["score"], abs=1e-5),
        "threshold": event["threshold"],
        "fmr": event["target_fmr"],
        "pair": event["calibration"]["pair"],
        "camera": "gate-3",
        "says": "not this subject",
    }
    assert entries(clients["admin"], action="decision.correct", subject_id="bert") == [entry]
    assert unknown_of(operator, event["event_id"]) is not None
    assert operator.post(path, json={"subject_id": "cleo"}).json()["now"] == "cleo"
    assert unknown_of(operator, event["event_id"]) is None
    assert operator.delete("/subjects/bert").status_code == 200
    assert event["event_id"] in kept(service)
    assert operator.delete("/subjects/cleo").status_code == 200
    assert event["event_id"] not in kept(service)


def test_pictures_are_for_operators_and_each_look_is_audited(
    keeping: tuple[Service, dict[str, httpx.Client]],
) -> None:
    service, clients = keeping
    operator = clients["operator"]
    event = seen(operator, sample_bytes("s11"))
    problem(clients["investigator"].get(f"/events/{event['event_id']}/crop"), 403, "forbidden")
    problem(clients["investigator"].get("/unknowns"), 403, "forbidden")
    key = made(clients["admin"], role="operator")
    with service.client(key["token"]) as looker:
        assert looker.get(f"/events/{event['event_id']}/crop").status_code == 200
        assert looker.get("/unknowns").status_code == 200
        problem(looker.get(f"/events/{NOBODY}/crop"), 404, "event_not_found")
    end = time.monotonic() + WAIT_S
    while len(read := entries(clients["admin"], actor=key["key_id"])) < 3 and time.monotonic() < end:
        time.sleep(0.1)
    assert [(one["detail"]["route"], one["detail"]["refused"]) for one in read[::-1]] == [
        ("/events/{event_id}/crop", None),
        ("/unknowns", None),
        ("/events/{event_id}/crop", "event_not_found"),
    ]


def test_what_is_not_there_or_malformed_is_said(
    keeping: tuple[Service, dict[str, httpx.Client]],
) -> None:
    _, clients = keeping
    operator = clients["operator"]
    problem(operator.post(f"/unknowns/{NOBODY}/ignore", json={}), 404, "unknown_not_found")
    problem(operator.post(f"/unknowns/{NOBODY}/enrol", json={"subject_id": "x"}), 404, "unknown_not_found")
    problem(operator.post(f"/unknowns/{NOBODY}/enrol", json={"subject_id": "a/b"}), 422, "invalid_parameter")
    problem(operator.post(f"/events/{NOBODY}/correct", json={}), 404, "event_not_found")
    problem(operator.get("/events/xyz/crop"), 422, "invalid_parameter")
    unknown = seen(operator, sample_bytes("s12"))
    said = problem(operator.post(f"/events/{unknown['event_id']}/correct", json={}), 422, "invalid_parameter")
    assert said["detail"] == "the decision names nobody: name the subject it shows"


def test_crops_are_sealed_in_every_file(keeping: tuple[Service, dict[str, httpx.Client]]) -> None:
    service, clients = keeping
    event = seen(clients["operator"], sample_bytes("s13"))
    png = clients["operator"].get(f"/events/{event['event_id']}/crop").content
    for path in service.data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert png[64:128] not in content, path.name
            assert b"\x89PNG" not in content, path.name


@pytest.mark.slow
def test_without_the_setting_nothing_is_kept_and_the_answer_names_it(
    client: httpx.Client, service: Service
) -> None:
    with Reader(client) as reader:
        identify(client, sample_bytes("s01"))
        assert reader.events[0]["data"]["keep_probes_hours"] == 0
        (event,) = reader.decisions(1)
    assert event["crop"] is False
    assert kept(service) == set()
    for method, path, body in (
        ("GET", f"/events/{event['event_id']}/crop", None),
        ("POST", f"/events/{event['event_id']}/correct", {}),
        ("GET", "/unknowns", None),
        ("POST", f"/unknowns/{NOBODY}/enrol", {"subject_id": "x"}),
        ("POST", f"/unknowns/{NOBODY}/ignore", {}),
        ("DELETE", f"/unknowns/{NOBODY}", None),
    ):
        said = problem(client.request(method, path, json=body), 409, "probes_not_kept")
        assert SETTING in said["detail"], path
