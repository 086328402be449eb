"""Pages that watch: cameras, doors and receivers, and thresholds that cannot decide, in a real Chromium."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from service.settings import builtin_bundle
from tests.cohorts import bundle_with_cohort
from tests.conftest import Service, free_port, sample_bytes
from tests.service.api.test_errors import enroll, identify
from tests.service.api.test_thresholds import table
from tests.service.console.conftest import Visiting
from tests.service.delivery.test_delivery import SECRET
from tests.service.doors.support import OPEN_TO_ALL, Relay, doors_text, relay
from tests.service.live.test_watchers import REPORT

if TYPE_CHECKING:
    from tests.service.console.conftest import Visit

pytestmark = pytest.mark.slow

NO_LIVENESS = "No liveness check: a printed photo or a mask may pass"


@dataclass
class Guarded:
    """A service with a door that may be switched and one that may not, and a receiver that is away."""

    service: Service
    relay: Relay


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    place = tmp_path_factory.mktemp("guarded")
    with relay(place / "calls") as opened:
        front = doors_text(door='dry_run = "until-switched"\npause_ms = 0', output=opened.output())
        back = doors_text(OPEN_TO_ALL.replace("doors.front", "doors.back"))
        back = back.replace("doors.front", "doors.back").replace("version = 1", "")
        (place / "doors.toml").write_text(front + back.replace('"entry", "yard"', '"cellar"'))
        env = {
            "HALFLIGHT_BUNDLE_DIR": str(builtin_bundle()),
            "HALFLIGHT_DOORS_FILE": str(place / "doors.toml"),
            "HALFLIGHT_WEBHOOK_URL": f"http://127.0.0.1:{free_port()}/events",
            "HALFLIGHT_WEBHOOK_SECRET": SECRET,
            "HALFLIGHT_WEBHOOK_PRIVATE": "true",
            "HALFLIGHT_WEBHOOK_ATTEMPTS": "1",
        }
        service = Service(place / "data", env).start()
        with service.client() as client:
            enroll(client, "ada", sample_bytes("s01"), display_name="Ada").raise_for_status()
        yield Guarded(service, opened)
        service.stop()


def test_cameras_show_what_their_watcher_said_and_how_long_ago(guarded: Guarded, visit: Visiting) -> None:
    console = visit(guarded.service)
    page = console.page
    console.open("watchers")
    page.get_by_text("No watcher has reported").wait_for()
    with guarded.service.client() as client:
        client.put("/watchers/hall", json=REPORT).raise_for_status()
    card = page.get_by_role("region", name="hall", exact=True)
    card.wait_for()
    assert card.get_by_text("last heard of").inner_text().endswith("s ago")
    row = page.get_by_role("region", name="Cameras of hall").locator("tbody tr")
    cells = row.locator("td").all_inner_texts()
    assert cells[0] == "gate"
    assert cells[1].split("\n")[0] == "Waiting"
    assert "the camera does not answer" in cells[1]
    assert cells[2].split("\n") == ["120", "4 not looked at"]
    assert cells[3] == "Match: 1"
    assert cells[4].startswith("Match")
    assert cells[5] == "3"
    assert card.get_by_text("2 tracks wait to be sent").is_visible()
    assert card.get_by_text("1 track was lost or refused").is_visible()
    assert console.inaccessible() == []


def outcomes(console: Visit, door: str) -> Any:
    return console.page.get_by_role("list", name=f"Last decisions of {door}").locator("> li")


def test_a_door_says_why_and_opens_only_after_its_name_is_typed(guarded: Guarded, visit: Visiting) -> None:
    console = visit(guarded.service)
    page = console.page
    console.open("doors")
    page.get_by_text(NO_LIVENESS).first.wait_for()
    front = page.get_by_role("region", name="front", exact=True)
    assert front.get_by_text("Dry run: opens nothing").is_visible()
    with guarded.service.client() as client:
        identify(client, sample_bytes("s01"), camera="entry").raise_for_status()
    newest = outcomes(console, "front").first
    newest.get_by_text("Would open").wait_for()
    assert newest.get_by_text("Ada").is_visible()
    assert newest.get_by_text("No liveness check").is_visible()
    page.get_by_role("button", name="Refresh").click()
    newest.get_by_text("Each check").click()
    newest.get_by_text("the camera entry").first.wait_for()
    assert newest.get_by_text("1 of 1 frames agree, 1 of 1 are asked for").is_visible()
    assert guarded.relay.calls() == []
    # The other door is the file's own affair.
    back = page.get_by_role("region", name="back", exact=True)
    assert back.get_by_role("button").count() == 0
    assert back.get_by_text('dry_run = "until-switched"').is_visible()

    front.get_by_role("button", name="Make it live").click()
    dialog = page.get_by_role("dialog")
    go = dialog.get_by_role("button", name="Let it open")
    assert go.is_disabled()
    assert dialog.get_by_text(NO_LIVENESS).is_visible()
    assert console.inaccessible() == []
    dialog.get_by_label("Type front to confirm").fill("fron")
    assert go.is_disabled()
    dialog.get_by_label("Type front to confirm").fill("front")
    go.click()
    front.get_by_text("Live: opens").wait_for()
    with guarded.service.client() as client:
        identify(client, sample_bytes("s01"), camera="entry").raise_for_status()
        outcomes(console, "front").first.get_by_text("Opened", exact=True).wait_for()
        assert len(guarded.relay.calls()) == 1
        switched = client.get("/admin/audit", params={"action": "door.switch"}).json()["entries"]
    assert [one["detail"] for one in switched] == [{"door": "front", "dry_run": False}]
    assert console.inaccessible() == []
    front.get_by_role("button", name="Back to a dry run").click()
    page.get_by_role("dialog").get_by_role("button", name="Back to a dry run").click()
    front.get_by_text("Dry run: opens nothing").wait_for()


def test_undelivered_events_are_shown_and_sent_again(guarded: Guarded, visit: Visiting) -> None:
    with guarded.service.client() as client:
        identify(client, sample_bytes("s02"), camera="hall").raise_for_status()
    console = visit(guarded.service)
    page = console.page
    console.open("receivers")
    row = page.get_by_role("region", name="Receivers").locator("tbody tr")
    row.wait_for()
    letters = page.get_by_role("region", name="Undelivered events").locator("tbody tr")
    while letters.count() == 0:
        page.get_by_role("button", name="Refresh").click()
        page.wait_for_timeout(200)
    assert row.locator("td").first.inner_text().split("\n") == ["webhook", "webhook"]
    assert "ConnectError" in row.locator("td").last.inner_text()
    assert "ConnectError" in letters.first.inner_text()
    assert console.inaccessible() == []
    letters.first.get_by_role("button", name="Send again").click()
    page.get_by_role("status").get_by_text("1 delivery is tried again.").first.wait_for(state="attached")
    with guarded.service.client() as client:
        replayed = client.get("/admin/audit", params={"action": "webhook.replay"}).json()["entries"]
    assert [one["detail"] for one in replayed] == [{"events": 1}]


def test_live_says_that_nothing_looks_for_a_living_face(guarded: Guarded, visit: Visiting) -> None:
    console = visit(guarded.service)
    console.open("live")
    console.page.get_by_text(NO_LIVENESS).first.wait_for()
    with guarded.service.client() as client:
        identify(client, sample_bytes("s01"), camera="hall").raise_for_status()
    console.page.locator(".event").first.get_by_text("No liveness check", exact=True).wait_for()


def test_thresholds_that_cannot_decide_say_so_and_what_to_do(
    tmp_path: Path, bundle_dir: Path, visit: Visiting
) -> None:
    data = tmp_path / "data"
    plain = Service(data, {"HALFLIGHT_BUNDLE_DIR": str(bundle_dir)}).start()
    with plain.client() as client:
        made = table(client, {"1e-2": 0.11})
        client.post("/admin/thresholds", json={"thresholds": json.loads(json.dumps(made))}).raise_for_status()
    plain.stop()
    bundle = bundle_with_cohort(bundle_dir, tmp_path / "with-cohort", lower=1.2)
    service = Service(data, {"HALFLIGHT_BUNDLE_DIR": str(bundle)}).start()
    try:
        console = visit(service)
        page = console.page
        console.open("thresholds")
        note = page.get_by_role("alert")
        note.get_by_text("Version 1 is in force and cannot decide").wait_for()
        assert note.get_by_text("evaluate your photos again").is_visible()
        assert note.get_by_text("Calibrate again for your cameras").is_visible()
        assert page.get_by_text("Set aside", exact=True).is_visible()
        assert console.inaccessible() == []
        page.get_by_role("button", name="Back to these").click()
        page.get_by_role("dialog").get_by_role("button", name="Use it").click()
        note.wait_for(state="detached")
        page.get_by_text("For other scores of this model").wait_for()
    finally:
        console.leave()
        service.stop()
