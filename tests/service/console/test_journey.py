"""What people do in the console: enrol, identify, correct, erase; in a real Chromium."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Service
from tests.service.console.conftest import Visiting

if TYPE_CHECKING:
    from tests.service.console.conftest import Visit

pytestmark = pytest.mark.slow


def enrol(console: Visit, subject_id: str, *photos: str, name: str = "") -> None:
    console.open("enrol")
    console.page.get_by_label("Subject id").fill(subject_id)
    console.page.get_by_label("Display name").fill(name)
    console.give(*photos)
    for number in range(len(photos)):
        console.page.get_by_text("Good to enrol.").nth(number).wait_for()
    console.page.get_by_role("button", name="Enrol", exact=False).last.click()
    console.page.get_by_text("enrolled.").first.wait_for()


def test_enrol_identify_correct_and_erase(builtin: Service, visit: Visiting) -> None:
    console = visit(builtin)
    page = console.page
    enrol(console, "anna", "s01/vis_1.jpg", name="Anna Müller")
    enrol(console, "bert", "s02/vis_1.jpg")

    console.open("identify")
    console.give("s01/nir_masked_1.jpg")
    best = page.locator(".candidates > li").first
    best.wait_for()
    assert best.get_by_role("link").inner_text() == "Anna Müller"
    assert page.get_by_text("Match", exact=True).is_visible()
    assert page.get_by_text("NIR", exact=True).is_visible()
    assert page.get_by_text("Mask", exact=True).is_visible()

    # Somebody who knows the person confirms the probe, which becomes a sample.
    page.get_by_role("button", name="Add to this subject: anna").click()
    assert page.get_by_label("Subject id").input_value() == "anna"
    assert page.get_by_label("Spectrum").input_value() == "nir"
    page.get_by_text("Good to enrol.").wait_for()
    page.get_by_role("button", name="Enrol 1 photo").click()
    page.get_by_role("link", name="Show anna").click()
    page.get_by_role("heading", name="2 samples").wait_for()

    # A photo under a wrong id: the service knows the face, and the photo goes where it belongs.
    console.open("enrol")
    page.get_by_label("Subject id").fill("carl")
    console.give("s01/vis_2.jpg")
    page.get_by_text("Good to enrol.").wait_for()
    page.get_by_role("button", name="Enrol 1 photo").click()
    page.get_by_text("Another subject has this face").wait_for()
    page.get_by_role("button", name="Add the photos to anna").click()
    page.get_by_role("link", name="Show anna").last.click()
    page.get_by_role("heading", name="3 samples").wait_for()
    # The refusal is an answer, which the browser's console names as well.
    console.errors[:] = [error for error in console.errors if "409" not in error]
    with builtin.client() as client:
        held = client.get("/subjects/anna").json()
        assert sorted(sample["spectrum"] for sample in held["samples"]) == ["nir", "vis", "vis"]
        assert client.get("/subjects/carl").status_code == 404

    page.get_by_role("button", name="Erase", exact=True).click()
    confirm = page.get_by_role("button", name="Erase for ever")
    assert confirm.is_disabled()
    page.get_by_label("Type anna to confirm").fill("anna")
    confirm.click()
    page.get_by_role("heading", name="anna is erased").wait_for()
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save the receipt").click()
    receipt = json.loads(Path(saving.value.path()).read_text(encoding="utf-8"))
    assert receipt["erased"]["samples"] == 3
    with builtin.client() as client:
        entries = client.get("/admin/audit", params={"action": "subject.erase"}).json()["entries"]
        assert receipt["audit_id"] in [entry["audit_id"] for entry in entries]
        assert client.get("/subjects/anna").status_code == 404
        client.delete("/subjects/bert").raise_for_status()


def test_names_are_changed_samples_erased_and_subjects_merged(builtin: Service, visit: Visiting) -> None:
    console = visit(builtin)
    page = console.page
    enrol(console, "dora", "s03/vis_1.jpg", "s03/vis_2.jpg", name="Dora")
    enrol(console, "emil", "s04/vis_1.jpg")
    console.open("subjects")
    page.get_by_label("Name contains").fill("DOR")
    page.get_by_text("1 subject", exact=True).wait_for()
    page.get_by_role("link", name="Dora").click()
    page.get_by_label("Display name").fill("Dóra")
    page.get_by_label("Metadata").fill('{"floor": 3}')
    page.get_by_role("button", name="Save").click()
    page.get_by_role("heading", name="Dóra").wait_for()
    page.get_by_role("button", name="Erase sample").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Erase", exact=True).click()
    page.get_by_role("heading", name="1 sample", exact=True).wait_for()
    page.get_by_role("button", name="Merge", exact=True).click()
    page.get_by_label("Id of the other subject").fill("emil")
    page.get_by_role("dialog").get_by_role("button", name="Merge").click()
    page.get_by_role("heading", name="2 samples").wait_for()
    with builtin.client() as client:
        held = client.get("/subjects/dora").json()
        assert (held["display_name"], held["metadata"]) == ("Dóra", {"floor": 3})
        client.delete("/subjects/dora").raise_for_status()


def test_a_picture_of_the_camera_is_judged_while_it_moves(builtin: Service, visit: Visiting) -> None:
    console = visit(builtin)
    console.open("enrol")
    console.page.get_by_role("button", name="Camera").click()
    # Chromium's test picture shows no face.
    console.page.get_by_text("No face was found.").wait_for()
    console.page.get_by_role("button", name="Take a picture").click()
    console.page.get_by_text("camera.jpg").wait_for()
