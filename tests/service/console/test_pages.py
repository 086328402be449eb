"""Every page of the console in a real Chromium: it opens, axe finds nothing serious, it fits 360 pixels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.settings import builtin_bundle
from tests.conftest import REPO, Service, sample_bytes
from tests.service.api.test_errors import enroll, identify
from tests.service.console.conftest import Visiting

if TYPE_CHECKING:
    from tests.service.console.conftest import Visit

pytestmark = pytest.mark.slow

SOURCES = REPO / "service" / "console" / "app" / "src"
PAGES = re.findall(r'^  \{ id: "(\w+)"', (SOURCES / "pages" / "index.ts").read_text(encoding="utf-8"), re.M)
NAMES = {"s01": "Anna Müller", "s02": "Bert Okafor"}


@pytest.fixture(scope="module")
def filled(builtin: Service) -> Iterator[Service]:
    """A service with two subjects, who were seen, and a stranger."""
    with builtin.client() as client:
        for subject_id, name in NAMES.items():
            enroll(client, subject_id, sample_bytes(subject_id), display_name=name).raise_for_status()
        for subject_id in (*NAMES, "s13"):
            identify(client, sample_bytes(subject_id, "nir_masked_1.jpg")).raise_for_status()
        yield builtin
        for subject_id in NAMES:
            client.delete(f"/subjects/{subject_id}").raise_for_status()


def settle(console: Visit) -> None:
    """Waits until the page has what it shows."""
    console.page.wait_for_load_state("load")
    console.page.wait_for_function("!document.querySelector('.loading')")
    console.page.evaluate("document.fonts.ready")


def test_the_console_has_every_page_of_the_contract() -> None:
    assert {"live", "identify", "enrol", "subjects", "spaces", "jobs", "audit", "keys", "health"} <= set(
        PAGES
    )


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
    page.wait_for_function("document.activeElement.tagName === 'H1'")
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
    page.get_by_role("heading", name="Personen").wait_for()
    page.get_by_label("Farben").select_option("dark")
    before = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.reload()
    page.get_by_role("heading", name="Personen").wait_for()
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
    page.wait_for_function(f"document.querySelectorAll('.event').length > {shown}")
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


def test_a_model_is_filled_switched_to_and_switched_back(tmp_path: Path, visit: Visiting) -> None:
    bundles = tmp_path / "bundles"
    bundles.mkdir()
    (bundles / "older").symlink_to(REPO / "models" / "halflight-1")
    env = {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle()), "HALFLIGHT_BUNDLES": str(bundles)}
    service = Service(tmp_path / "data", env).start()
    try:
        with service.client() as client:
            enroll(client, "anna", sample_bytes("s01")).raise_for_status()
            before = client.get("/health/ready").json()["space_id"]
            console = visit(service)
            page = console.page
            console.open("spaces")
            page.get_by_role("button", name="Register a bundle").click()
            page.get_by_label("Bundle").fill("older")
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
            page.get_by_text("Done", exact=True).wait_for()
            assert console.inaccessible() == []
    finally:
        service.stop()


def test_keys_are_made_used_and_revoked(tmp_path: Path, visit: Visiting) -> None:
    service = Service(tmp_path / "data", {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle())}).start()
    try:
        console = visit(service)
        page = console.page
        console.open("keys")
        page.get_by_role("button", name="Make a key").click()
        page.get_by_label("Label").fill("first")
        page.get_by_role("dialog").get_by_role("button", name="Make a key").click()
        token = page.locator(".token").inner_text()
        assert re.fullmatch(r"hf_[0-9a-f]{12}_[0-9a-f]{64}", token)
        page.get_by_role("button", name="I have copied it").click()
        # The first key ends open access, for this tab too.
        page.get_by_label("Key").fill(token)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Make a key").click()
        page.get_by_label("Label").fill("gate 3")
        page.get_by_label("Role").select_option("probe")
        page.get_by_role("dialog").get_by_role("button", name="Make a key").click()
        probe = page.locator(".token").inner_text()
        page.get_by_role("button", name="I have copied it").click()
        with service.client(probe) as client:
            assert client.get("/whoami").json()["label"] == "gate 3"
            page.get_by_role("button", name="Revoke: gate 3").click()
            page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
            page.get_by_text("Revoked", exact=True).wait_for()
            assert client.get("/whoami").status_code == 401
        console.errors[:] = [error for error in console.errors if "401" not in error]
    finally:
        service.stop()


def test_the_console_works_below_a_prefix(tmp_path: Path, visit: Visiting) -> None:
    env = {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle()), "HALFLIGHT_ROOT_PATH": "/gate/faces"}
    service = Service(tmp_path / "data", env).start()
    try:
        console = visit(f"{service.url}/gate/faces")
        console.open("identify")
        console.give("s01/vis_1.jpg")
        console.page.get_by_text("No candidate.").wait_for()
        assert console.page.url == f"{service.url}/gate/faces/#/identify"
    finally:
        service.stop()
