"""The stream of decisions: who sees what, what a reader misses, and when the stream ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_access import make_key
from tests.service.api.test_audit import entries, verify_form
from tests.service.api.test_errors import enroll, identify, problem
from tests.service.api.test_keys import made
from tests.service.live.reader import WAIT_S, Reader

KEPT, STREAMS = 4, 6


@pytest.fixture(scope="module")
def keyed(
    tmp_path_factory: pytest.TempPathFactory, bundle_dir: Path
) -> Iterator[tuple[Service, dict[str, httpx.Client]]]:
    """A service that keeps few decisions and streams, and a client for each kind of key."""
    data = tmp_path_factory.mktemp("events") / "data"
    data.mkdir()
    key = make_key(data, "admin")
    limits = {"HALFLIGHT_EVENTS_KEPT": str(KEPT), "HALFLIGHT_MAX_EVENT_STREAMS": str(STREAMS)}
    service = Service(data, limits).start()
    clients = {"admin": service.client(key)}
    for name, asked in (
        ("operator", {"role": "operator"}),
        ("probe", {"role": "probe"}),
        ("investigator", {"role": "probe", "permissions": ["investigate"]}),
    ):
        clients[name] = service.client(made(clients["admin"], **asked)["token"])
    yield service, clients
    for client in clients.values():
        client.close()
    service.stop()


def kinds(reader: Reader) -> list[str]:
    return [event["event"] for event in reader.events]


def test_every_decision_reaches_operators_and_investigators_with_what_decided_it(
    keyed: tuple[Service, dict[str, httpx.Client]],
) -> None:
    _, clients = keyed
    operator = clients["operator"]
    assert enroll(operator, "anna", sample_bytes("s01"), display_name="Anna A.").status_code == 201
    with Reader(operator) as first, Reader(clients["investigator"]) as second:
        assert first.events[0]["event"] == "start"
        assert first.events[0]["data"] == {"schema_version": 1, "kept": KEPT, "keep_probes_hours": 0.0}
        known = identify(clients["probe"], sample_bytes("s01", "vis_2.jpg"), camera="gate-3").json()
        stranger = identify(clients["probe"], sample_bytes("s02", "nir_masked_1.jpg")).json()
        verified = verify_form(operator, "anna", sample_bytes("s02")).json()
        told = first.decisions(3)
        assert second.decisions(3) == told
    match, unknown, refused = told
    (found,) = known["results"]
    assert match["subject"] == {"subject_id": "anna", "display_name": "Anna A."}
    assert (match["action"], match["decision"], match["camera"]) == ("identify", "match", "gate-3")
    # A probe key got its score to two digits; the event has it whole.
    assert round(match["score"], 2) == found["candidates"][0]["score"]
    for name in ("threshold", "target_fmr", "calibration", "condition", "quality", "search"):
        assert match[name] == found[name], name
    assert match["space_id"] == known["space_id"]
    assert unknown["decision"] == "unknown"
    assert (unknown["subject"], unknown["camera"]) == (None, None)
    assert unknown["condition"]["spectrum"] == "nir"
    assert round(unknown["score"], 2) == stranger["results"][0]["candidates"][0]["score"]
    assert (refused["action"], refused["decision"]) == ("verify", verified["decision"])
    assert refused["subject"]["subject_id"] == "anna"
    assert refused["score"] == verified["score"]
    assert refused["search"] is None
    assert len({event["event_id"] for event in told}) == 3
    assert not any(event["crop"] for event in told)
    keys = {key["role"]: key["key_id"] for key in clients["admin"].get("/admin/keys").json()["keys"]}
    assert refused["key_id"] == keys["operator"] != match["key_id"]


def test_plain_probe_keys_and_strangers_get_no_stream(
    keyed: tuple[Service, dict[str, httpx.Client]],
) -> None:
    service, clients = keyed
    said = problem(clients["probe"].get("/events"), 403, "forbidden")["detail"]
    assert "investigate" in said
    with service.client() as nobody:
        problem(nobody.get("/events"), 401, "unauthorized")
    problem(clients["operator"].get("/events?recent=2000"), 422, "invalid_parameter")
    for wrong in ("x", "-", "1", "0123456789ab-x"):
        answer = clients["operator"].get("/events", headers={"Last-Event-ID": wrong})
        problem(answer, 422, "invalid_parameter")


def test_a_stream_is_one_audited_read_and_the_camera_is_in_the_log(
    keyed: tuple[Service, dict[str, httpx.Client]],
) -> None:
    service, clients = keyed
    key = made(clients["admin"], role="operator")
    with service.client(key["token"]) as watcher, Reader(watcher) as reader:
        for _ in range(2):
            identify(clients["operator"], sample_bytes("s01"), camera="yard")
        reader.decisions(2)
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        seen = [one["detail"].get("camera") for one in entries(clients["admin"], action="subject.identify")]
        if seen.count("yard") == 2:
            break
        time.sleep(0.1)
    assert seen[:2] == ["yard", "yard"]
    (read,) = entries(clients["admin"], actor=key["key_id"])
    assert (read["action"], read["detail"]) == ("read", {"route": "/events", "refused": None})


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "gate\n", "a/b"])
def test_a_camera_has_a_plain_name(client: httpx.Client, name: str) -> None:
    said = problem(identify(client, sample_bytes("s01"), camera=name), 422, "invalid_parameter")["detail"]
    assert "camera" in said


def test_a_reader_goes_on_where_it_was_and_is_told_what_it_missed(
    keyed: tuple[Service, dict[str, httpx.Client]],
) -> None:
    _, clients = keyed
    operator, photo = clients["operator"], sample_bytes("s01")
    with Reader(operator) as reader:
        identify(operator, photo)
        (seen,) = reader.decisions(1)
        place = reader.events[-1]["id"]
    for _ in range(2):
        identify(operator, photo)
    with Reader(operator, last_event_id=place) as back:
        two = back.decisions(2)
        assert kinds(back) == ["start", "decision", "decision"]
        assert seen["event_id"] not in {event["event_id"] for event in two}
    for _ in range(KEPT):
        identify(operator, photo)
    with Reader(operator, last_event_id=place) as late:
        told = late.decisions(KEPT)
        assert kinds(late) == ["start", "missed"] + ["decision"] * KEPT
        assert late.events[1]["data"] == {"count": 2}
    with Reader(operator, recent=2) as new:
        assert new.decisions(2) == told[-2:]
    other_run = "0123456789ab-7"
    with Reader(operator, last_event_id=other_run) as stranger:
        assert stranger.decisions(KEPT) == told
        assert stranger.events[1]["data"] == {"count": None}


@pytest.mark.slow
def test_an_idle_stream_is_kept_open_by_comments(keyed: tuple[Service, dict[str, httpx.Client]]) -> None:
    with Reader(keyed[1]["operator"]) as reader:
        end = time.monotonic() + WAIT_S
        while reader.comments < 1 and time.monotonic() < end:
            time.sleep(0.1)
        assert reader.comments == 1
        assert kinds(reader) == ["start"]


def test_who_was_erased_is_not_shown_again(keyed: tuple[Service, dict[str, httpx.Client]]) -> None:
    _, clients = keyed
    operator = clients["operator"]
    enroll(operator, "anna", sample_bytes("s01"), display_name="Anna A.")
    identify(operator, sample_bytes("s01", "vis_2.jpg"))
    with Reader(operator, recent=1) as before:
        assert before.decisions(1)[0]["subject"]["subject_id"] == "anna"
    assert operator.delete("/subjects/anna").status_code == 200
    time.sleep(2.1)  # what is younger is shown as it was
    with Reader(operator, recent=1) as after:
        (event,) = after.decisions(1)
    assert event["subject"] is None
    assert event["decision"] == "match"


def test_one_stream_too_many_is_refused_at_once_and_a_closed_one_makes_room(
    keyed: tuple[Service, dict[str, httpx.Client]],
) -> None:
    _, clients = keyed
    readers = [Reader(clients["operator"]) for _ in range(STREAMS)]
    refused = clients["operator"].get("/events")
    problem(refused, 503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert identify(clients["operator"], sample_bytes("s01")).status_code == 200
    readers.pop().close()
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        with clients["operator"].stream("GET", "/events") as answer:
            if answer.status_code == 200:
                break
        time.sleep(0.1)
    else:
        raise AssertionError("the place of a closed stream stays taken")
    for reader in readers:
        reader.close()


def test_a_revoked_key_ends_its_stream(keyed: tuple[Service, dict[str, httpx.Client]]) -> None:
    service, clients = keyed
    key = made(clients["admin"], role="operator")
    with (
        service.client(key["token"]) as client,
        Reader(client) as reader,
        Reader(clients["operator"]) as other,
    ):
        assert clients["admin"].delete(f"/admin/keys/{key['key_id']}").status_code == 200
        reader.join(WAIT_S)
        assert not reader.is_alive()
        assert reader.events[-1]["event"] == "end"
        assert reader.events[-1]["data"] == {"reason": "unauthorized"}
        identify(clients["operator"], sample_bytes("s01"))
        other.decisions(1)
        assert kinds(reader) == ["start", "end"]


def test_the_first_key_ends_streams_that_were_open_to_everybody(start_service: StartService) -> None:
    service = start_service()
    with service.client() as client, Reader(client) as reader:
        made(client, role="admin")
        reader.join(WAIT_S)
        assert reader.events[-1]["data"] == {"reason": "unauthorized"}


def test_a_shutdown_ends_streams_and_is_not_held_up_by_them(start_service: StartService) -> None:
    service = start_service(HALFLIGHT_DRAIN_S="60")
    with service.client() as client, Reader(client) as reader:
        stopped = threading.Thread(target=service.stop)
        stopped.start()
        reader.join(WAIT_S)
        stopped.join(WAIT_S)
        assert reader.events[-1]["event"] == "end"
        assert reader.events[-1]["data"] == {"reason": "draining"}
        assert service.process is not None
        assert service.process.returncode == 0
