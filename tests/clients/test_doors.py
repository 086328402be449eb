"""Doors, receivers, watchers and tracks through both clients against a real service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from halflight.client import Conflict, Forbidden, InvalidInput, NotFound
from tests.clients.conftest import BUILTIN, Connect, Keyed
from tests.clients.test_examples import place, run
from tests.clients.test_javascript import modules, package
from tests.conftest import Service, free_port, sample_bytes
from tests.service.api.test_access import make_key
from tests.service.delivery.test_delivery import SECRET
from tests.service.doors.support import doors_text

__all__ = ["modules", "package", "place"]
SCRIPT = """
import { Client, Problem } from "halflight-client";
const client = new Client("URL", { key: process.env.HALFLIGHT_KEY });
const [door] = (await client.doors()).doors;
const asked = { subject_id: "nobody", camera: "entry", mask: "worn" };
const tested = await client.testDoor("front", asked);
const live = await client.switchDoor("front", false);
const refused = await client.testDoor("front", asked).catch((error) => error.code);
const dry = await client.switchDoor("front", true);
const { receivers } = await client.receivers();
const none = await client.redeliver(["000000000000000000000000"], "webhook");
const watchers = await client.watchers();
console.log(JSON.stringify([
  door.name, tested.reason, live.dry_run, refused, dry.dry_run,
  receivers[0].name, none, Array.isArray(watchers),
]));
"""
REPORT = {"sources": [{"name": "gate", "state": "watching", "frames": 7, "last_decision": "match"}]}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """A service with a door that may be switched, and a receiver that nobody runs."""
    place = tmp_path_factory.mktemp("guarded")
    data, file = place / "data", place / "doors.toml"
    data.mkdir()
    file.write_text(doors_text(door='dry_run = "until-switched"'))
    keys = [make_key(data, role) for role in ("admin", "operator", "probe")]
    env = {
        "HALFLIGHT_DOORS_FILE": str(file),
        "HALFLIGHT_WEBHOOK_URL": f"http://127.0.0.1:{free_port()}/",
        "HALFLIGHT_WEBHOOK_SECRET": SECRET,
        "HALFLIGHT_WEBHOOK_PRIVATE": "true",
        "HALFLIGHT_WEBHOOK_ATTEMPTS": "1",
    }
    running = Service(data, BUILTIN | env).start()
    yield Keyed(running, *keys)
    running.stop()


def test_a_door_is_read_tested_and_switched(connect: Connect, guarded: Keyed) -> None:
    admin = connect(guarded.url, key=guarded.admin).client
    admin.enrol("ada", sample_bytes("s01"), duplicates="ignore")
    (door,) = admin.doors().doors
    assert (door.name, door.dry_run, door.switchable, door.liveness) == ("front", True, True, "none")
    tested = admin.test_door("front", "ada", "entry", at=datetime(2027, 1, 31, 12, tzinfo=UTC), mask="worn")
    assert (tested.would_open, tested.rule, tested.reason) == (True, "everybody", "allowed")
    assert tested.rules[0].holds
    strict = admin.test_door("front", "ada", "entry", fmr=0.5)
    assert [one.check for one in strict.rules[0].conditions if not one.met] == ["threshold"]
    assert admin.switch_door("front", dry_run=False).dry_run is False
    with pytest.raises(Conflict):
        admin.test_door("front", "ada", "entry")
    assert admin.switch_door("front", dry_run=True).state == "dry_run"
    with pytest.raises(NotFound):
        admin.switch_door("back", dry_run=False)
    with pytest.raises(Forbidden):
        connect(guarded.url, key=guarded.operator).client.switch_door("front", dry_run=False)


def test_receivers_and_what_they_did_not_get(connect: Connect, guarded: Keyed) -> None:
    admin = connect(guarded.url, key=guarded.admin).client
    before = admin.receivers().dead
    admin.identify(sample_bytes("s02"))
    found = admin.receivers()
    while found.dead == before:
        found = admin.receivers()
    (receiver,) = found.receivers
    assert (found.on, receiver.name, receiver.kind) == (True, "webhook", "webhook")
    assert (receiver.last_delivered_at, receiver.last_error) == (None, "ConnectError")
    letter = found.dead_letters[-1]
    assert (letter.receiver, letter.attempts) == ("webhook", 1)
    assert admin.redeliver([letter.event_id], "webhook") == 1
    assert admin.redeliver(["0" * 24]) == 0


def test_a_watcher_reports_and_an_operator_reads(connect: Connect, guarded: Keyed) -> None:
    probe = connect(guarded.url, key=guarded.probe).client
    assert probe.report_watcher("hall", REPORT) is None
    (heard,) = connect(guarded.url, key=guarded.operator).client.watchers()
    (source,) = heard.report.sources
    assert (heard.watcher, source.frames, source.last_decision) == ("hall", 7, "match")
    with pytest.raises(InvalidInput):
        probe.report_watcher("hall", {"sources": []})
    with pytest.raises(Forbidden):
        probe.watchers()


def test_a_track_is_decided_by_votes(connect: Connect, guarded: Keyed) -> None:
    admin = connect(guarded.url, key=guarded.admin).client
    admin.enrol("ada", sample_bytes("s01"), duplicates="ignore")
    frames = [sample_bytes("s01", f"nir_masked_{number}.jpg") for number in (1, 2, 1)]
    answer = admin.track("t1", frames, camera="gate", spectrum="nir")
    assert (answer.decision, answer.votes.of) == ("match", 3)
    assert answer.subject is not None
    assert answer.subject.subject_id == "ada"


def test_doors_receivers_and_watchers_in_javascript(guarded: Keyed, modules: Path) -> None:
    (modules / "example.mjs").write_text(SCRIPT.replace("URL", guarded.url), encoding="utf-8")
    told = run(["node", "example.mjs"], guarded, modules, HALFLIGHT_KEY=guarded.admin)
    said = ["front", "subject_gone", False, "door_is_live", True, "webhook", 0, True]
    assert json.loads(told) == said
