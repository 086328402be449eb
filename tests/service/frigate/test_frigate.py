"""`halflight frigate` between a real broker, a real service, and a server that answers as Frigate does."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiomqtt
import pytest

from service.cli.frigate_events import MAX_PERSONS, People, Person, change_of
from tests.conftest import Service, StartService, sample_bytes
from tests.service.cli.command import HALFLIGHT, environment, halflight
from tests.service.delivery.mosquitto import READER, READER_PASSWORD, Mosquitto
from tests.service.delivery.test_delivery import until
from tests.service.frigate.recorder import Recorder, change

A, B, C, D = (f"160712395{number}.475377-mxkls{number}" for number in range(4))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    if shutil.which("mosquitto") is None:
        pytest.skip("no Mosquitto: CI installs it")
    made = Mosquitto(tmp_path / "broker")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    made = Recorder()
    yield made
    made.close()


def publish(broker: Mosquitto, *messages: bytes) -> None:
    async def send() -> None:
        client = aiomqtt.Client("127.0.0.1", broker.port, username=READER, password=READER_PASSWORD)
        async with client:
            for message in messages:
                await client.publish("frigate/events", message, qos=0)

    asyncio.run(send())


class Watch:
    """The command as a process; it ends with the test."""

    def __init__(self, service: Service, broker: Mosquitto, recorder: Recorder, room: Path) -> None:
        with service.client() as client:
            answer = client.post("/admin/keys", json={"role": "admin", "label": "me"})
            self.admin = answer.json()["token"]
        with service.client(self.admin) as client:
            self.key = client.post("/admin/keys", json={"role": "probe", "label": "frigate"}).json()["token"]
        self.out, self.err = room / "out", room / "err"
        env = {
            "HALFLIGHT_URL": service.url,
            "HALFLIGHT_KEY": self.key,
            "HALFLIGHT_FRIGATE_URL": recorder.url,
            "HALFLIGHT_MQTT_URL": f"mqtt://127.0.0.1:{broker.port}",
            "HALFLIGHT_MQTT_USER": READER,
            "HALFLIGHT_MQTT_PASSWORD": READER_PASSWORD,
        }
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [*HALFLIGHT, "frigate", "--spectrum", "nir"], env=environment(env), stdout=out, stderr=err
            )
        until(lambda: "watching frigate/events" in self.err.read_text())

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.out.read_text().splitlines()]


def enrol(client_key: str, service: Service) -> None:
    with service.client(client_key) as client:
        photos = [("images", ("a.jpg", sample_bytes("s01", name), "image/jpeg")) for name in VISIBLE]
        fields = {"subject_id": "anna-k", "display_name": "Anna Kern"}
        client.post("/enroll", data=fields, files=photos).raise_for_status()


VISIBLE = ("vis_1.jpg", "vis_2.jpg")


def probes(who: str) -> list[bytes]:
    return [sample_bytes(who, f"nir_masked_{number}.jpg") for number in (1, 2)]


@pytest.mark.slow
def test_people_are_named_by_several_snapshots(
    start_service: StartService, broker: Mosquitto, recorder: Recorder, tmp_path: Path
) -> None:
    service = start_service()
    watch = Watch(service, broker, recorder, tmp_path)
    enrol(watch.admin, service)
    # Of the third there is one snapshot alone, and somebody else has named the fourth.
    recorder.pictures = {A: probes("s01"), B: probes("s13"), C: probes("s01")[:1], D: probes("s01")}
    recorder.refuse = 1
    try:
        publish(broker, b"{}", change("../../admin", "new"), change(A, "new", camera="a/b"))
        publish(broker, change(A, "new", has_snapshot=False))
        for event in (A, B, C):
            publish(broker, change(event, "new"))
            until(lambda event=event: len(snapshots(recorder, event)) == 1)  # type: ignore[misc]
            publish(broker, change(event, "update"))
            until(lambda event=event: len(snapshots(recorder, event)) == 2)  # type: ignore[misc]
        publish(broker, change(D, "new", sub_label=["Bert", 0.9]), change(D, "update", sub_label="Bert"))
        until(lambda: A in recorder.labels)
        assert recorder.labels == {A: ("Anna Kern", 1.0)}
        publish(broker, *(change(event, "end") for event in (A, B, C, D)))
        until(lambda: len(watch.lines()) == 3)
        assert watch.lines() == [
            ["front_door", "match", "Anna", "Kern", "2", "of", "2"],
            ["front_door", "unknown", "-", "2", "of", "2"],
            ["front_door", "undecided", "-", "1", "of", "1"],
        ]
        assert recorder.labels == {A: ("Anna Kern", 1.0)}
        assert not snapshots(recorder, D)
        assert not any(".." in path for path in recorder.asked)
        # The broker goes and comes back, and the watch with it.
        broker.kill()
        until(lambda: "the broker is away" in watch.err.read_text())
        broker.start()
        until(lambda: watch.err.read_text().count("watching frigate/events") == 2)
        told = watch.err.read_text() + watch.out.read_text()
        assert "none of Frigate's" in told
        assert watch.key not in told
        assert READER_PASSWORD not in told
        # One decision for each, of the kind that a track gets.
        with service.client(watch.admin) as client:
            events = client.get("/events", params={"recent": 9, "follow": "false"}).text
        assert events.count('"action": "track"') == 3
        # A key that is revoked ends it.
        with service.client(watch.admin) as client:
            keys = client.get("/admin/keys").json()["keys"]
            (mine,) = [one["key_id"] for one in keys if one["label"] == "frigate"]
            client.delete(f"/admin/keys/{mine}").raise_for_status()
        recorder.pictures[B] = probes("s01")
        publish(broker, change(B, "new"))
        until(lambda: len(snapshots(recorder, B)) == 3)
        publish(broker, change(B, "update"))
        assert watch.process.wait(timeout=120) == 1
        assert "--key or HALFLIGHT_KEY" in watch.err.read_text()
    finally:
        watch.process.kill()
        watch.process.wait()


def snapshots(recorder: Recorder, event: str) -> Sequence[str]:
    return [path for path in recorder.asked if path.startswith(f"/api/events/{event}/snapshot.jpg?")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--frigate", "ftp://frigate", "--mqtt", "mqtt://b"), "no address of Frigate"),
        (("--frigate", "http://me:pw@frigate", "--mqtt", "mqtt://b"), "no user"),
        (("--frigate", "http://frigate/?a=b", "--mqtt", "mqtt://b"), "no address of Frigate"),
        (("--frigate", "http://frigate", "--mqtt", "http://b"), "address of a broker"),
        (("--frigate", "http://frigate", "--mqtt", "mqtt://b", "--mqtt-password-file", "x"), "needs a user"),
        (("--frigate", "http://f", "--mqtt", "mqtts://b", "--mqtt-ca", "none.pem"), "cannot be read"),
    ],
)
def test_what_is_no_address_is_refused_at_the_start(arguments: tuple[str, ...], said: str) -> None:
    done = halflight("frigate", *arguments)
    assert (done.code, said in done.err) == (2, True), done.err
    assert "pw" not in done.err


def test_it_ends_with_130_at_ctrl_c(broker: Mosquitto, recorder: Recorder) -> None:
    command = ["frigate", "--frigate", recorder.url, "--mqtt", f"mqtt://127.0.0.1:{broker.port}"]
    env = environment({"HALFLIGHT_MQTT_USER": READER, "HALFLIGHT_MQTT_PASSWORD": READER_PASSWORD})
    process = subprocess.Popen([*HALFLIGHT, *command], env=env, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "watching" in process.stderr.readline()
    os.kill(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in told) == (130, False)


def test_snapshots_are_asked_about_at_powers_of_two_and_at_the_end() -> None:
    person = Person(A, "door", most=3)
    asked = []
    for number in range(1, 10):
        for _ in range(2):
            person.take(bytes([number]))
            if person.worth_asking():
                asked.append(number)
    assert asked == [2, 4, 8]
    assert person.frames == [b"\x07", b"\x08", b"\x09"]
    before = person.request_key
    person.ended = True
    assert person.worth_asking()
    assert person.request_key != before
    person.settled = True
    assert not person.worth_asking()


def test_people_are_those_of_the_label_and_the_cameras_and_not_without_end() -> None:
    people = People("person", frozenset({"front_door"}), 8)
    assert people.of(change_of(change(A, "new", label="cat"))) is None
    assert people.of(change_of(change(A, "new", camera="garden"))) is None
    assert people.of(change_of(change(A, "new", false_positive=True))) is None
    # It began before: what is shown after the end may be anybody.
    assert people.of(change_of(change(A, "end"))) is None
    first = people.of(change_of(change(A, "new")))
    assert first is not None
    assert people.of(change_of(change(A, "update"))) is first
    for number in range(MAX_PERSONS):
        people.of(change_of(change(f"{number}.5-abc", "new")))
    # It has been given up.
    assert people.of(change_of(change(A, "end"))) is None
