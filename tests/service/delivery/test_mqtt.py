"""Events at a real broker, Mosquitto: none lost over kills, none retained, nobody named unless asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.delivery.home_assistant import EVENT_TYPES
from service.delivery.topics import slug
from tests.conftest import Service, StartService, sample_bytes
from tests.service.delivery import home_assistant_schema
from tests.service.delivery.mosquitto import PASSWORD, Mosquitto
from tests.service.delivery.test_delivery import identify, until

DECISIONS = "halflight/home/decisions"
CAMERAS = "halflight/home/cameras/"
AVAILABILITY = "halflight/home/availability"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    if shutil.which("mosquitto") is None:
        pytest.skip("no Mosquitto: CI installs it")
    made = Mosquitto(tmp_path / "broker")
    yield made
    made.stop()


def enrol(client: httpx.Client) -> None:
    photos = [("images", ("a.jpg", sample_bytes("s01"), "image/jpeg"))]
    fields = {"subject_id": "anna-k", "display_name": "Anna Kern"}
    client.post("/enroll", data=fields, files=photos).raise_for_status()


def decisions(broker: Mosquitto) -> list[dict[str, Any]]:
    return [json.loads(one["payload"]) for one in broker.messages(DECISIONS)]


def stranger(client: httpx.Client, camera: str) -> int:
    files = {"image": ("p.jpg", sample_bytes("s13", "nir_masked_1.jpg"), "image/jpeg")}
    return client.post("/identify", params={"camera": camera}, files=files).status_code


def waiting(service: Service) -> int:
    with service.client() as client:
        found: int = client.get("/admin/webhooks").json()["waiting"]
    return found


@pytest.mark.slow
def test_no_event_is_lost_when_broker_or_service_are_killed(
    start_service: StartService, broker: Mosquitto
) -> None:
    broker.start()
    broker.read()
    service = start_service(**broker.env)
    asked: list[str] = []

    def see(count: int) -> None:
        with service.client() as client:
            for _ in range(count):
                asked.append(f"door-{len(asked)}")
                assert identify(client, asked[-1]) == 200

    with service.client() as client:
        enrol(client)
    see(3)
    broker.kill()
    see(3)
    # What was committed and not published lies in the database alone.
    service.kill()
    broker.start()
    service.start()
    see(3)
    service.kill()
    service.start()
    until(lambda: {one["camera"] for one in decisions(broker)} >= set(asked))
    until(lambda: waiting(service) == 0)
    # Twice is allowed; the id tells.
    by_id = {one["event_id"]: one["camera"] for one in decisions(broker)}
    assert sorted(by_id.values()) == sorted(asked)
    assert {one["qos"] for one in broker.messages(DECISIONS)} == {1}
    with service.client() as client:
        told = client.get("/metrics").text
    assert "halflight_mqtt_connected 1.0" in told
    assert PASSWORD not in told
    assert service.log is not None
    assert PASSWORD not in service.log.read_text()


@pytest.mark.slow
def test_messages_name_nobody_unless_the_operator_says_so(
    start_service: StartService, broker: Mosquitto
) -> None:
    broker.start()
    broker.read()
    service = start_service(**broker.env)
    with service.client() as client:
        enrol(client)
        assert identify(client, "Front-door") == 200
        assert stranger(client, "Front-door") == 200
        body = client.get("/events", params={"recent": 2, "follow": "false"}).text
    place = slug("Front-door")
    until(lambda: len(broker.messages(CAMERAS)) == 2)
    match, unknown = (json.loads(one["payload"]) for one in broker.messages(CAMERAS + place))
    assert (match["event_type"], match["person"]) == ("match", "known")
    assert (unknown["event_type"], unknown["person"]) == ("unknown", "unknown face")
    first, second = decisions(broker)
    assert (first["decision"], first["subject"]) == ("match", None)
    assert first["event_id"] == match["event_id"]
    assert first["event_id"] in body
    assert {one["schema_version"] for one in (first, second, match, unknown)} == {1}
    for one in broker.messages():
        assert "anna" not in (one["topic"] + one["payload"]).lower()
    # What is published and not yet noted as confirmed would come again.
    until(lambda: waiting(service) == 0)
    # A clean end says so itself; after SIGKILL the broker does.
    assert service.stop() == 0
    until(lambda: broker.messages(AVAILABILITY)[-1]["payload"] == "offline")
    service.env = {**service.env, "HALFLIGHT_MQTT_NAMES": "true"}
    service.start()
    until(lambda: broker.messages(AVAILABILITY)[-1]["payload"] == "online")
    with service.client() as client:
        assert identify(client, "Front-door") == 200
    until(lambda: len(broker.messages(CAMERAS)) == 3)
    assert json.loads(broker.messages(CAMERAS)[-1]["payload"])["person"] == "Anna Kern"
    named = {"subject_id": "anna-k", "display_name": "Anna Kern"}
    assert decisions(broker)[-1]["subject"] == named
    assert not any("anna" in one["topic"].lower() for one in broker.messages())
    service.kill()
    until(lambda: broker.messages(AVAILABILITY)[-1]["payload"] == "offline")
    # What a reader gets who comes now is what was retained: no decision.
    broker.read_anew()
    until(lambda: len(broker.messages()) == 4)
    retained = {one["topic"]: one["payload"] for one in broker.messages()}
    assert retained.pop(AVAILABILITY) == "offline"
    assert sorted(topic.split("/")[1] for topic in retained) == ["binary_sensor", "event", "sensor"]
    for topic, payload in retained.items():
        config = home_assistant_schema.checked(topic, json.loads(payload))
        assert config["state_topic"] == CAMERAS + place
        assert config["availability_topic"] == AVAILABILITY
        assert config.get("event_types") in (None, list(EVENT_TYPES))
        assert "anna" not in payload.lower()


@pytest.mark.slow
def test_an_erasure_takes_what_the_broker_has_not_got(start_service: StartService, broker: Mosquitto) -> None:
    # The reader's session is kept, so that it gets what is published before it is there again.
    broker.start()
    broker.read()
    broker.kill()
    service = start_service(**broker.env, HALFLIGHT_MQTT_NAMES="true")
    with service.client() as client:
        enrol(client)
        assert identify(client, "door") == 200
        client.delete("/subjects/anna-k").raise_for_status()
        assert identify(client, "later") == 200
    broker.start()
    until(lambda: waiting(service) == 0)
    until(lambda: len(decisions(broker)) == 1)
    assert [one["camera"] for one in decisions(broker)] == ["later"]
    assert "anna" not in str(broker.messages()).lower()


@pytest.mark.slow
def test_a_refusal_of_the_broker_is_no_delivery(start_service: StartService, broker: Mosquitto) -> None:
    broker.allow(AVAILABILITY)
    broker.start()
    wrong = start_service(
        **broker.env | {"HALFLIGHT_MQTT_PASSWORD": "wrong", "HALFLIGHT_MQTT_DISCOVERY": "0"}
    )
    with wrong.client() as client:
        assert identify(client, "door") == 200
        assert "halflight_mqtt_connected 0.0" in client.get("/metrics").text
    assert waiting(wrong) == 1
    log = wrong.log
    assert log is not None
    until(lambda: "the MQTT broker is away" in log.read_text())
    assert "wrong" not in log.read_text()
    wrong.kill()
    wrong.env = {**wrong.env, **broker.env}
    wrong.start()
    with wrong.client() as client:
        until(lambda: 'outcome="failed",receiver="mqtt"' in client.get("/metrics").text)
    assert waiting(wrong) == 1


def test_slugs_are_fit_for_topics_and_unlike_for_unlike_cameras() -> None:
    names = ["door", "Door", "front door", "front-door", "Türe", "", "a/b", "a+b", "#", "x" * 200]
    made = [slug(name) for name in names]
    assert made[0] == "door"
    assert len(set(made)) == len(names)
    for one in made:
        assert home_assistant_schema.ID.fullmatch(one)
