"""Webhooks over a receiver that fails half the time, and a service that is killed amid deliveries."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import StartService, free_port, sample_bytes

KEY = secrets.token_bytes(32)
SECRET = "whsec_" + base64.b64encode(KEY).decode()
RECEIVER = Path(__file__).with_name("receiver.py")


class Received:
    """The receiver's process and what it has taken."""

    def __init__(self, file: Path) -> None:
        self.file, self.port = file, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, share: float) -> None:
        command = [sys.executable, str(RECEIVER), str(self.port), str(self.file), str(share)]
        self.process = subprocess.Popen(command)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def env(self) -> dict[str, str]:
        return {
            "HALFLIGHT_WEBHOOK_URL": f"http://127.0.0.1:{self.port}/events",
            "HALFLIGHT_WEBHOOK_SECRET": SECRET,
            "HALFLIGHT_WEBHOOK_PRIVATE": "true",
            "HALFLIGHT_WEBHOOK_RETRY_S": "0.2",
            "HALFLIGHT_WEBHOOK_TIMEOUT_S": "2",
        }

    def events(self) -> list[dict[str, Any]]:
        """Bodies, each with a signature that has been checked."""
        found = []
        for line in self.file.read_text().splitlines() if self.file.is_file() else ():
            one = json.loads(line)
            signed = f"{one['webhook-id']}.{one['webhook-timestamp']}.{one['body']}".encode()
            digest = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
            assert one["webhook-signature"] == f"v1,{digest}"
            assert abs(int(one["webhook-timestamp"]) - time.time()) < 3600
            body = json.loads(one["body"])
            assert body["event_id"] == one["webhook-id"]
            found.append(body)
        return found


@pytest.fixture
def received(tmp_path: Path) -> Iterator[Received]:
    made = Received(tmp_path / "received.jsonl")
    yield made
    made.stop()


def until(done: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


def identify(client: httpx.Client, camera: str) -> int:
    files = {"image": ("p.jpg", sample_bytes("s01", "nir_masked_1.jpg"), "image/jpeg")}
    return client.post("/identify", params={"camera": camera}, files=files).status_code


@pytest.mark.slow
def test_no_event_is_lost_when_the_service_is_killed(start_service: StartService, received: Received) -> None:
    received.start(0.5)
    service = start_service(**received.env)
    answered = []
    for run in range(2):
        with service.client() as client:
            photos = [("images", ("a.jpg", sample_bytes("s01"), "image/jpeg"))]
            client.post("/enroll", data={"subject_id": "anna"}, files=photos).raise_for_status()
            for number in range(6):
                assert identify(client, f"door-{run}-{number}") == 200
                answered.append(f"door-{run}-{number}")
        service.kill()
        service.start()
    until(lambda: {one["camera"] for one in received.events()} >= set(answered))
    with service.client() as client:
        until(lambda: client.get("/admin/webhooks").json()["waiting"] == 0)
        shown = client.get("/admin/webhooks").json()
        (receiver,) = shown.pop("receivers")
        assert shown == {"on": True, "waiting": 0, "dead": 0, "dead_letters": []}
        assert (receiver["name"], receiver["kind"]) == ("webhook", "webhook")
        assert (receiver["waiting"], receiver["dead"]) == (0, 0)
        assert abs(datetime.now(UTC) - datetime.fromisoformat(receiver["last_delivered_at"])).seconds < 600
        told = client.get("/metrics").text
    assert 'halflight_webhook_attempts_total{outcome="delivered",receiver="webhook"}' in told
    events = received.events()
    assert all(one["subject"]["subject_id"] == "anna" for one in events)
    assert {one["schema_version"] for one in events} == {1}
    by_id = sorted({one["event_id"]: one["camera"] for one in events}.items())
    assert [camera for _, camera in by_id] == answered


def test_dead_letters_are_shown_and_replayed(start_service: StartService, received: Received) -> None:
    service = start_service(**received.env | {"HALFLIGHT_WEBHOOK_ATTEMPTS": "2"})
    with service.client() as client:
        assert identify(client, "door") == 200
        until(lambda: client.get("/admin/webhooks").json()["dead"] == 1)
        (letter,) = client.get("/admin/webhooks").json()["dead_letters"]
        assert (letter["attempts"], letter["last_error"]) == (2, "ConnectError")
        (receiver,) = client.get("/admin/webhooks").json()["receivers"]
        assert receiver["last_delivered_at"] is None
        assert receiver["last_failed_at"] is not None
        assert receiver["last_error"] == "ConnectError"
        received.start(0)
        assert client.post("/admin/webhooks/replay", json={"event_ids": ["0" * 24]}).json() == {"replayed": 0}
        until(received.listens)
        assert client.post("/admin/webhooks/replay", json={}).json() == {"replayed": 1}
        until(lambda: client.get("/admin/webhooks").json()["waiting"] == 0)
        assert client.get("/admin/webhooks").json()["dead"] == 0


def test_a_receiver_that_is_down_holds_up_no_other(
    start_service: StartService, received: Received, tmp_path: Path
) -> None:
    """Two receivers: one takes half of what it is sent, the other is down until later."""
    other = Received(tmp_path / "other.jsonl")
    file = tmp_path / "receivers.toml"
    table = {"url": f"http://127.0.0.1:{other.port}/x", "secret": SECRET, "private": True, "retry_s": 0.2}
    lines = [f"{name} = {json.dumps(value)}" for name, value in (table | {"attempts": 2}).items()]
    file.write_text("\n".join(["[garage]", *lines]))
    service = start_service(**received.env | {"HALFLIGHT_RECEIVERS_FILE": str(file)})
    received.start(0.5)
    until(received.listens)
    asked = [f"door-{number}" for number in range(5)]
    try:
        with service.client() as client:
            for camera in asked:
                assert identify(client, camera) == 200
            until(lambda: {one["camera"] for one in received.events()} == set(asked))
            until(lambda: client.get("/admin/webhooks").json()["dead"] == 5)
            until(lambda: client.get("/admin/webhooks").json()["waiting"] == 0)
            shown = client.get("/admin/webhooks").json()
            assert [(one["name"], one["dead"]) for one in shown["receivers"]] == [
                ("webhook", 0),
                ("garage", 5),
            ]
            assert {one["receiver"] for one in shown["dead_letters"]} == {"garage"}
            other.start(0)
            until(other.listens)
            assert client.post("/admin/webhooks/replay", json={"receiver": "webhook"}).json() == {
                "replayed": 0
            }
            assert client.post("/admin/webhooks/replay", json={"receiver": "garage"}).json() == {
                "replayed": 5
            }
            until(lambda: {one["camera"] for one in other.events()} == set(asked))
            until(lambda: client.get("/admin/webhooks").json()["dead"] == 0)
    finally:
        other.stop()
