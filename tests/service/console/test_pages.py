"""Every page of the console in a real Chromium: it opens, axe finds nothing serious, it fits 360 pixels."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from service.settings import builtin_bundle
from tests.conftest import ANSWER_S, REPO, Service, sample_bytes
from tests.service.api.test_errors import enroll, identify
from tests.service.api.test_thresholds import table
from tests.service.console.conftest import Visiting

if TYPE_CHECKING:
    from tests.service.console.conftest import Visit

pytestmark = pytest.mark.slow

SOURCES = REPO / "service" / "console" / "app" / "src"
PAGES = re.findall(r'^  \{ id: "(\w+)"', (SOURCES / "pages" / "index.ts").read_text(encoding="utf-8"), re.M)
PREFIX = "/gate/faces"
NAMES = {"s01": "Anna Müller", "s02": "Bert Okafor"}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that keeps crops of probes, with two subjects, who were seen, and a stranger.

    It also has an older bundle to register, and answers below a prefix as well.
    """
    bundles = tmp_path_factory.mktemp("bundles")
    (bundles / "older").symlink_to(REPO / "models" / "halflight-1")
    env = {
        "HALFLIGHT_BUNDLE_DIR": str(builtin_bundle()),
        "HALFLIGHT_BUNDLES": str(bundles),
        "HALFLIGHT_KEEP_PROBES_HOURS": "1",
        "HALFLIGHT_ROOT_PATH": PREFIX,
    }
    service = Service(tmp_path_factory.mktemp("filled") / "data", env).start()
    with service.client() as client:
        for subject_id, name in NAMES.items():
            enroll(client, subject_id, sample_bytes(subject_id), display_name=name).raise_for_status()
        for subject_id in (*NAMES, "s13"):
            identify(client, sample_bytes(subject_id, "nir_masked_1.jpg")).raise_for_status()
    yield service
    service.stop()


def settle(console: Visit) -> None:
    """Waits until the page has what it shows."""
    console.page.wait_for_load_state("load")
    console.page.wait_for_selector(".loading", state="detached")


def test_the_console_has_every_page_of_the_contract() -> None:
    watch, people = {"live", "identify", "watchers", "doors"}, {"enrol", "subjects", "unknowns"}
    models, administration = {"spaces", "jobs", "thresholds"}, {"receivers", "audit", "keys", "health"}
    assert set(PAGES) == watch | people | models | administration


@pytest.mark.parametrize("look", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(filled: Service, visit: Visiting, look: str) -> None:
    console = visit(filled, color_scheme=look)
    found = {}
    for page in [*PAGES, "subjects/s01"]:
        console.open(*page.split("/"))
        settle(console)
        found[page] = console.inaccessible()
    assert {page: what for page, what in found.items() if what} == {}


@pytest.mark.parametrize("language", ["en-GB", "de-DE"])
def test_every_page_fits_a_narrow_screen(filled: Service, visit: Visiting, language: str) -> None:
    console = visit(filled, language=language, width=360)
    wide = {}
    for page in [*PAGES, "subjects/s01"]:
        console.open(*page.split("/"))
        settle(console)
        wide[page] = console.page.evaluate("document.documentElement.scrollWidth")
    assert {page: width for page, width in wide.items() if width > 360} == {}
    assert console.page.evaluate("document.documentElement.lang") == language[:2]


def test_the_menu_of_a_narrow_screen_opens_and_leads_on(filled: Service, visit: Visiting) -> None:
    console = visit(filled, width=360)
    console.open("identify")
    console.page.get_by_role("button", name="Open the menu").click()
    assert console.inaccessible() == []
    console.page.get_by_role("link", name="Health").click()
    console.page.get_by_role("heading", name="Health").wait_for()
    assert not console.page.get_by_role("navigation", name="Pages").is_visible()


def test_the_keyboard_alone_leads_to_a_page_and_into_it(filled: Service, visit: Visiting) -> None:
    console = visit(filled)
    page = console.page
    console.open("live")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the page"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("link", name="Subjects").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Subjects").wait_for()
    # A screen reader begins where the page does.
    page.locator("h1:focus").wait_for()
    console.open("keys")
    page.get_by_role("button", name="Make a key").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    assert console.inaccessible() == []
    assert page.evaluate("document.querySelector('dialog').contains(document.activeElement)")
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")


def test_language_and_colours_are_chosen_and_stay(filled: Service, visit: Visiting) -> None:
    console = visit(filled)
    page = console.page
    console.open("subjects")
    page.get_by_label("Language").select_option("de")
    page.get_by_role("heading", name="Personen", level=1).wait_for()
    page.get_by_label("Farben").select_option("dark")
    before = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.reload()
    page.get_by_role("heading", name="Personen", level=1).wait_for()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == before
    page.get_by_label("Farben").select_option("light")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != before


def test_both_languages_have_every_text() -> None:
    table = (SOURCES / "texts.ts").read_text(encoding="utf-8")
    rows = re.findall(r'^  "([\w.-]+)": \["((?:[^"\\]|\\.)*)", "((?:[^"\\]|\\.)*)"\],$', table, re.M)
    assert len(rows) == len(re.findall(r'^  "[\w.-]+": \[', table, re.M)) >= 300
    for key, english, german in rows:
        assert english, key
        assert german, key
        # What is filled in is the same in both.
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", german)), key


def test_no_page_holds_a_text_outside_the_table() -> None:
    for file in sorted(SOURCES.rglob("*.tsx")):
        for text in re.findall(
            r">([^<>{}=;()]*[A-Za-z]{3,}[^<>{}=;()]*)</", file.read_text(encoding="utf-8")
        ):
            # The name of the product, of a rate, and commands are the same in every language.
            word = text.strip()
            assert word in ("Halflight", "FMR", "FNMR") or "halflight " in word or "HALFLIGHT_" in word, (
                file.name,
                word,
            )


def test_a_decision_appears_live_without_a_reload(filled: Service, visit: Visiting) -> None:
    console = visit(filled)
    page = console.page
    console.open("live")
    page.get_by_text("Live", exact=True).last.wait_for()
    page.locator(".event").nth(2).wait_for()
    shown = page.locator(".event").count()
    with filled.client() as client:
        answer = identify(client, sample_bytes("s02", "nir_masked_2.jpg")).json()["results"][0]
    page.locator(".event").nth(shown).wait_for()
    newest = page.locator(".event").first
    assert newest.get_by_role("link").inner_text() == "Bert Okafor"
    assert newest.get_by_text("NIR", exact=True).is_visible()
    assert newest.get_by_text("Mask", exact=True).is_visible()
    told = newest.locator(".score").get_attribute("aria-label") or ""
    assert f"{answer['candidates'][0]['score']:.3f}" in told
    assert f"threshold {answer['threshold']:.3f}" in told
    # What somebody who does not see the page hears.
    page.get_by_role("status").get_by_text("Match: Bert Okafor.").first.wait_for(state="attached")

    page.get_by_role("button", name="Hold").click()
    with filled.client() as client:
        identify(client, sample_bytes("s13", "nir_masked_2.jpg")).raise_for_status()
    page.get_by_role("button", name="Go on (1 new)").click()
    assert page.locator(".event").first.get_by_text("Unknown").first.is_visible()
    page.get_by_label("Show", exact=True).select_option("match")
    assert page.locator(".event:not(.good)").count() == 0


def test_a_wrong_decision_is_corrected_and_its_face_waits_among_the_unknown(
    filled: Service, visit: Visiting
) -> None:
    console = visit(filled)
    page = console.page
    console.open("live")
    card = page.locator(".event", has=page.get_by_role("link", name="Anna Müller")).first
    card.get_by_role("img", name="Crop: Anna Müller").wait_for()
    card.get_by_role("button", name="Not this person").click()
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    card.get_by_text("Corrected: Unknown").wait_for()
    with filled.client() as client:
        entries = client.get("/admin/audit", params={"action": "decision.correct"}).json()["entries"]
        assert len(entries) == 1
        waiting = len(client.get("/unknowns").json()["unknowns"])
    console.open("unknowns")
    faces = page.locator(".unknowns > li")
    faces.nth(waiting - 1).wait_for()
    assert faces.count() == waiting
    faces.first.get_by_role("img", name="Crop of an unknown face").first.wait_for()


def test_an_unknown_face_is_ignored_and_shown_again(filled: Service, visit: Visiting) -> None:
    console = visit(filled)
    page = console.page
    console.open("unknowns")
    faces = page.locator(".unknowns > li")
    faces.first.wait_for()
    before = faces.count()
    faces.first.get_by_role("button", name="Ignore").click()
    page.wait_for_selector(f".unknowns > li:nth-child({before})", state="detached")
    page.get_by_label("Show ignored ones").check()
    ignored = page.locator(".unknowns > li", has_text="Ignored")
    ignored.wait_for()
    ignored.get_by_role("button", name="Show again").click()
    ignored.wait_for(state="detached")
    assert faces.count() == before


def sightings(client: httpx.Client) -> int:
    return sum(int(one["count"]) for one in client.get("/unknowns").json()["unknowns"])


def test_an_unknown_face_is_forgotten_once_somebody_confirms_it(filled: Service, visit: Visiting) -> None:
    console = visit(filled)
    page = console.page
    with filled.client() as client:
        count = sightings(client)
        answer = identify(client, sample_bytes("s04", "nir_masked_1.jpg"))
        assert answer.json()["results"][0]["decision"] == "unknown"
        # Crops are kept soon after the answer.
        end = time.monotonic() + ANSWER_S
        while sightings(client) == count:
            assert time.monotonic() < end
            time.sleep(0.1)
        before = client.get("/unknowns").json()["unknowns"]
        console.open("unknowns")
        faces = page.locator(".unknowns > li")
        faces.first.get_by_role("img", name="Crop of an unknown face").first.wait_for()
        assert faces.count() == len(before) >= 2
        asked, *others = before
        seen = asked["event_ids"]

        dialog = page.get_by_role("dialog")
        faces.first.get_by_role("button", name="Forget").click()
        dialog.get_by_role("img", name="Crop of an unknown face").wait_for()
        assert console.inaccessible() == []
        dialog.get_by_role("button", name="Cancel").click()
        dialog.wait_for(state="detached")
        assert client.get("/unknowns").json()["unknowns"] == before

        faces.first.get_by_role("button", name="Forget").click()
        dialog.get_by_role("button", name="Forget for ever").click()
        page.get_by_role("status").get_by_text(f"{len(seen)} crop").first.wait_for(state="attached")
        page.wait_for_selector(f".unknowns > li:nth-child({len(before)})", state="detached")
        assert client.get("/unknowns").json()["unknowns"] == others
        assert {client.get(f"/events/{one}/crop").status_code for one in seen} == {404}
        (entry,) = client.get("/admin/audit", params={"action": "unknown.forget"}).json()["entries"]
        assert entry["detail"] == {"unknown_id": asked["unknown_id"], "sightings": len(seen)}
    # Crop and templates lie in one row, which is gone; those of the others stay.
    with contextlib.closing(sqlite3.connect(filled.data / "halflight.db")) as db:
        kept = {event_id for (event_id,) in db.execute("SELECT event_id FROM kept_probes")}
    assert not kept & set(seen)
    assert kept >= {one for each in others for one in each["event_ids"]}


def test_without_kept_crops_the_page_of_unknown_faces_names_the_setting(
    builtin: Service, visit: Visiting
) -> None:
    console = visit(builtin)
    console.open("unknowns")
    console.page.get_by_text("HALFLIGHT_KEEP_PROBES_HOURS=24").wait_for()
    # The refusal is an answer, which the browser's console names as well.
    console.errors[:] = [error for error in console.errors if "409" not in error]


def test_thresholds_are_installed_seen_and_taken_back(
    builtin: Service, visit: Visiting, tmp_path: Path
) -> None:
    console = visit(builtin)
    page = console.page
    console.open("thresholds")
    page.locator(".chart").wait_for()
    with builtin.client() as client:
        made = table(client, {"1e-3": 0.73}, camera="gate-1")
        (tmp_path / "thresholds.json").write_text(json.dumps(made), encoding="utf-8")
        page.get_by_role("button", name="Install thresholds").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("File").set_input_files(str(tmp_path / "thresholds.json"))
        dialog.get_by_label("Note").fill("winter light")
        dialog.get_by_role("button", name="Install thresholds").click()
        page.get_by_text("winter light").wait_for()
        assert client.get("/admin/thresholds").json()["active"] == 1
        page.get_by_label("Camera").select_option("gate-1")
        page.get_by_role("cell", name="0.730").first.wait_for()
        assert console.inaccessible() == []
        page.get_by_role("button", name="Back to these").click()
        page.get_by_role("dialog").get_by_role("button", name="Use it").click()
        page.get_by_role("button", name="Use version 1?").wait_for()
        assert client.get("/admin/thresholds").json()["active"] is None


def test_the_console_works_below_a_prefix(filled: Service, visit: Visiting) -> None:
    console = visit(f"{filled.url}{PREFIX}")
    console.open("identify")
    console.give("s01/vis_1.jpg")
    console.page.locator(".candidates").get_by_role("link", name="Anna Müller").click()
    console.page.get_by_role("heading", name="Anna Müller").wait_for()
    assert console.page.url == f"{filled.url}{PREFIX}/#/subjects/s01"


def test_a_model_is_filled_switched_to_and_switched_back(filled: Service, visit: Visiting) -> None:
    console = visit(filled)
    page = console.page
    with filled.client() as client:
        before = client.get("/health/ready").json()["space_id"]
        console.open("spaces")
        page.get_by_role("button", name="Register a bundle").click()
        page.get_by_role("textbox", name="Bundle").fill("older")
        page.get_by_role("dialog").get_by_role("button", name="Register a bundle").click()
        page.get_by_role("button", name="Fill: halflight-1").click()
        page.get_by_role("button", name="Switch to it: halflight-1").click()
        page.get_by_role("dialog").get_by_role("button", name="Switch to it").click()
        page.get_by_role("button", name="Switch back to it: halflight-2").wait_for()
        assert client.get("/health/ready").json()["space_id"] != before
        page.get_by_role("button", name="Switch back to it: halflight-2").click()
        page.get_by_role("dialog").get_by_role("button", name="Switch back to it").click()
        page.get_by_role("button", name="Switch to it: halflight-1").wait_for()
        assert client.get("/health/ready").json()["space_id"] == before

    # The filling was a job, and is told as one.
    console.open("jobs")
    page.get_by_role("link", name="backfill").click()
    page.get_by_text("Done", exact=True).first.wait_for()
    assert console.inaccessible() == []


def test_keys_are_made_used_and_revoked(builtin: Service, visit: Visiting) -> None:
    # The last test of this service: the first key ends open access to it.
    console = visit(builtin)
    page = console.page
    console.open("keys")
    page.get_by_role("button", name="Make a key").click()
    page.get_by_label("Label").fill("first")
    page.get_by_role("dialog").get_by_role("button", name="Make a key").click()
    token = page.locator(".token").inner_text()
    assert re.fullmatch(r"hf_[0-9a-f]{12}_[0-9a-f]{64}", token)
    page.get_by_role("button", name="I have copied it").click()
    # This tab too needs it now.
    page.get_by_label("Key").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Make a key").click()
    page.get_by_label("Label").fill("gate 3")
    page.get_by_label("Role").select_option("probe")
    page.get_by_role("dialog").get_by_role("button", name="Make a key").click()
    probe = page.locator(".token").inner_text()
    page.get_by_role("button", name="I have copied it").click()
    with builtin.client(probe) as client:
        assert client.get("/whoami").json()["label"] == "gate 3"
        page.get_by_role("button", name="Revoke: gate 3").click()
        page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        page.locator(".badge").get_by_text("Revoked", exact=True).wait_for()
        assert client.get("/whoami").status_code == 401
    console.errors[:] = [error for error in console.errors if "401" not in error]
