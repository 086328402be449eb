"""What people do in the console: enrol, identify, correct, erase; sign in; be refused; in a real Chromium."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.settings import builtin_bundle
from tests.conftest import SAMPLES, Service
from tests.service.api.test_access import make_key
from tests.service.console.conftest import Visiting

if TYPE_CHECKING:
    from tests.service.console.conftest import Visit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, dict[str, str]]]:
    data = tmp_path_factory.mktemp("keyed") / "data"
    data.mkdir()
    keys = {role: make_key(data, role) for role in ("admin", "operator", "probe")}
    service = Service(data, {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle())}).start()
    yield service, keys
    service.stop()


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


def test_what_is_wrong_with_a_photo_is_said_before_and_after(
    builtin: Service, visit: Visiting, tmp_path: Path
) -> None:
    (tmp_path / "note.jpg").write_bytes(b"no picture")
    console = visit(builtin)
    page = console.page
    console.open("enrol")
    page.get_by_label("Subject id").fill("frida")
    page.locator("input[type=file]").set_input_files(
        [str(tmp_path / "note.jpg"), str(SAMPLES / "s05" / "vis_1.jpg")]
    )
    page.get_by_text("This is no picture that the service reads").wait_for()
    page.get_by_text("Good to enrol.").wait_for()
    # The refusal of that look is an answer, which the browser's console names as well.
    expected = [error for error in console.errors if "415" in error]
    assert expected
    page.get_by_role("button", name="Enrol 2 photos").click()
    page.get_by_text("1 photo enrolled.").first.wait_for()
    assert page.locator(".reasons").get_by_text("This is no picture that the service reads").is_visible()
    console.errors[:] = [error for error in console.errors if "415" not in error]
    with builtin.client() as client:
        client.delete("/subjects/frida").raise_for_status()


def test_a_picture_of_the_camera_is_judged_while_it_moves(builtin: Service, visit: Visiting) -> None:
    console = visit(builtin)
    console.open("enrol")
    console.page.get_by_role("button", name="Camera").click()
    # Chromium's test picture shows no face.
    console.page.get_by_text("No face was found.").wait_for()
    console.page.get_by_role("button", name="Take a picture").click()
    console.page.get_by_text("camera.jpg").wait_for()


def test_verify_tells_two_people_apart(builtin: Service, visit: Visiting) -> None:
    console = visit(builtin)
    page = console.page
    for other, decision in (("s06/vis_2.jpg", "Match"), ("s08/vis_1.jpg", "No match")):
        console.open("identify")
        page.reload()
        page.get_by_label("Is it this one?").check()
        console.give("s06/vis_1.jpg")
        page.get_by_label("A second picture").check()
        page.locator("input[type=file]").nth(1).set_input_files(str(SAMPLES / other))
        page.get_by_role("button", name="Verify", exact=True).click()
        page.locator(".card .badge", has_text=decision).first.wait_for()


def test_a_key_opens_what_it_may_and_stays_in_its_tab(
    keyed: tuple[Service, dict[str, str]], visit: Visiting
) -> None:
    service, keys = keyed
    console = visit(service)
    page = console.page
    page.goto(service.url)
    page.get_by_label("Key").fill("hf_wrong")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("The key is not accepted").wait_for()
    seen = {}
    for role in ("probe", "operator", "admin"):
        page.get_by_label("Key").fill(keys[role])
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("navigation", name="Pages").wait_for()
        seen[role] = set(page.get_by_role("navigation", name="Pages").get_by_role("link").all_inner_texts())
        page.reload()
        page.get_by_text(f"Role {role}").wait_for()
        assert keys[role] not in page.url
        assert page.evaluate("localStorage.length") == 0
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("heading", name="Sign in").wait_for()
        assert page.evaluate("sessionStorage.length") == 0
    assert "Identify" in seen["probe"]
    assert "Subjects" not in seen["probe"]
    assert "Subjects" in seen["operator"]
    assert "Keys" not in seen["operator"]
    assert seen["operator"] < seen["admin"]
    # Each visit without a key, and the wrong key, is a 401, which the browser's console names as well.
    console.errors[:] = [error for error in console.errors if "401" not in error]


def test_a_page_that_the_key_may_not_open_says_which_one_it_needs(
    keyed: tuple[Service, dict[str, str]], visit: Visiting
) -> None:
    service, keys = keyed
    console = visit(service)
    console.open("subjects", "anna")
    console.page.get_by_label("Key").fill(keys["probe"])
    console.page.get_by_role("button", name="Sign in").click()
    console.page.get_by_text("This page needs a key of: Role operator").wait_for()
    console.errors[:] = [error for error in console.errors if "401" not in error]


def test_a_revoked_key_signs_out_with_the_reason(
    keyed: tuple[Service, dict[str, str]], visit: Visiting
) -> None:
    service, keys = keyed
    with service.client(keys["admin"]) as admin:
        made = admin.post("/admin/keys", json={"role": "operator"}).json()
        console = visit(service)
        page = console.page
        page.goto(service.url)
        page.get_by_label("Key").fill(made["token"])
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="Subjects").click()
        page.get_by_role("heading", name="Subjects").wait_for()
        admin.delete(f"/admin/keys/{made['key_id']}").raise_for_status()
    page.get_by_label("Name contains").fill("a")
    page.get_by_text("Your key is no longer valid").wait_for()
    console.errors[:] = [error for error in console.errors if "401" not in error]


def test_a_service_that_stops_is_told_and_found_again(builtin: Service, visit: Visiting) -> None:
    console = visit(builtin)
    page = console.page
    console.open("identify")
    builtin.stop()
    console.give("s01/vis_1.jpg")
    page.locator(".note.bad", has_text="The service does not answer").last.wait_for()
    builtin.start()
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("No candidate.").wait_for()
    # While nothing answered, the browser's console named every attempt.
    console.errors.clear()
