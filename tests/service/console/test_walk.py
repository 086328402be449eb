"""The first-time walk in the browser alone: enrol, identify, calibrate, review an unknown face, erase."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.cli.samples import load_samples
from service.settings import builtin_bundle
from tests.conftest import SAMPLES, Service
from tests.service.api.test_access import make_key
from tests.service.api.test_errors import identify
from tests.service.console.conftest import Visiting
from tests.service.console.test_journey import enrol
from training.data.lfw import Split, read_lfw

if TYPE_CHECKING:
    from tests.service.console.conftest import Visit

pytestmark = pytest.mark.slow

PEOPLE, CAMERA = 44, "door-1"
# A busy machine may take long over so many photos; nothing depends on the time it takes.
MEASURED_MS = 1_800_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str]]:
    """A service that keeps crops of probes, and the key of its administrator."""
    data = tmp_path_factory.mktemp("walk") / "data"
    data.mkdir()
    key = make_key(data, "admin")
    env = {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle()), "HALFLIGHT_KEEP_PROBES_HOURS": "1"}
    service = Service(data, env).start()
    yield service, key
    service.stop()


@pytest.fixture(scope="module")
def labelled(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LFW's validation people with two photos: the samples are too few for an FMR that requests may name."""
    root = tmp_path_factory.mktemp("labelled") / "my site"
    people = read_lfw(shared / "data" / "lfw.tar", frozenset({Split.VALIDATION}))
    for person in [one for one in people if len(one.photos) > 1][:PEOPLE]:
        for photo, folder in zip(person.photos, ("references", "probes"), strict=False):
            place = root / person.name / folder / "photo.webp"
            place.parent.mkdir(parents=True)
            place.write_bytes(photo.data)
    (root / ".DS_Store").write_bytes(b"what a file manager leaves")
    return root


def few(root: Path) -> Path:
    """The sample people, whose probes lie in a camera's folder, and a photo that is torn."""
    for one in load_samples():
        for folder, path in (("references", one.vis[0]), (f"probes/{CAMERA}", one.nir_masked[0])):
            place = root / one.subject_id / folder / path.name
            place.parent.mkdir(parents=True)
            place.write_bytes(path.read_bytes())
    torn = (SAMPLES / "s01" / "vis_1.jpg").read_bytes()[:1500]
    # A name that is longer than the plain header of a tar holds, and in another script.
    (root / "s01" / "probes" / CAMERA / f"{'a' * 90}-Straße-門.jpg").write_bytes(torn)
    return root


def signed_in(visit: Visiting, site: tuple[Service, str], **options: object) -> Visit:
    service, key = site
    console = visit(service, **options)
    console.page.goto(service.url)
    label, button = ("Schlüssel", "Anmelden") if "language" in options else ("Key", "Sign in")
    console.page.get_by_label(label).fill(key)
    console.page.get_by_role("button", name=button).click()
    console.page.wait_for_selector("#main h1")
    # That a key is needed was an answer, which the browser's console names as well.
    console.errors[:] = [error for error in console.errors if "401" not in error]
    return console


def photos_left(service: Service) -> list[Path]:
    return [path for path in (service.data / "evaluations").rglob("*") if path.is_file()]


def test_enrol_identify_calibrate_review_and_erase(
    site: tuple[Service, str], labelled: Path, visit: Visiting
) -> None:
    service, key = site
    console = signed_in(visit, site)
    page = console.page
    enrol(console, "anna", "s01/vis_1.jpg", name="Anna Müller")
    console.open("identify")
    console.give("s01/nir_masked_1.jpg")
    page.locator(".candidates").get_by_role("link", name="Anna Müller").wait_for()
    page.get_by_text("Match", exact=True).wait_for()
    page.reload()
    console.give("s13/nir_masked_1.jpg")
    page.get_by_text("Unknown", exact=True).first.wait_for()

    console.open("thresholds")
    page.get_by_role("link", name="Calibrate for your cameras").click()
    page.get_by_role("heading", name="Calibrate for your cameras").wait_for()
    start = page.get_by_role("button", name="Send and measure")
    assert start.is_disabled()
    page.get_by_label("Choose the folder").set_input_files(str(labelled))
    page.get_by_text(f"{PEOPLE} people, {PEOPLE} references, {PEOPLE} probes.").wait_for()
    page.get_by_label("Camera id").fill(CAMERA)
    assert console.inaccessible() == []
    start.click()
    page.get_by_role("heading", name="Measurement of your cameras").wait_for()
    page.get_by_role("heading", name="What the photos support").wait_for(timeout=MEASURED_MS)
    page.get_by_text(
        f"{PEOPLE} unmasked VIS probes of {PEOPLE} people against unmasked VIS references,"
        f" camera {CAMERA}: supports FMR 1e-2"
    ).wait_for()
    assert photos_left(service) == []
    assert console.inaccessible() == []
    page.get_by_label("Camera", exact=True).select_option(CAMERA)
    suggested = page.get_by_role("region", name="Thresholds for your cameras").locator("tbody tr").first
    assert re.search(r"\d+ of [\d,]+", suggested.inner_text())
    assert page.get_by_role("img", name=re.compile("How often each score occurs")).count() >= 1

    look_at_report(console)

    page.get_by_label("Note").fill("winter light")
    page.get_by_role("button", name="Install", exact=True).click()
    page.get_by_text("Version 1 decides from now on").wait_for()
    with service.client(key) as client:
        in_force = client.get("/admin/thresholds").json()
        assert in_force["active"] == 1
        asked = {"camera": CAMERA, "fmr": "1e-2", "spectrum": "vis"}
        answer = identify(client, (SAMPLES / "s02" / "vis_1.jpg").read_bytes(), **asked).json()["results"][0]
        told = answer["calibration"]
        assert (told["version"], told["camera"], told["set_by"]) == (1, CAMERA, f"version 1, camera {CAMERA}")
        assert f"{answer['threshold']:.3f}" in suggested.inner_text()

    page.get_by_role("link", name="Show the versions, or go back").click()
    page.get_by_text("winter light").wait_for()
    page.get_by_role("button", name="Back to these").click()
    page.get_by_role("dialog").get_by_role("button", name="Use it").click()
    page.get_by_role("button", name="Use version 1?").wait_for()
    with service.client(key) as client:
        assert client.get("/admin/thresholds").json()["active"] is None

    console.open("unknowns")
    stranger = page.locator(".unknowns > li").last
    stranger.get_by_role("button", name="Enrol this face as").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Subject id").fill("bert")
    dialog.get_by_role("button", name="Enrol", exact=True).click()
    page.get_by_role("link", name="Show bert").click()
    page.get_by_role("heading", name="1 sample", exact=True).wait_for()

    console.open("subjects", "anna")
    page.get_by_role("button", name="Erase", exact=True).click()
    page.get_by_label("Type anna to confirm").fill("anna")
    page.get_by_role("button", name="Erase for ever").click()
    page.get_by_role("heading", name="anna is erased").wait_for()
    with service.client(key) as client:
        assert client.get("/subjects/anna").status_code == 404
        assert client.get("/subjects/bert").status_code == 200


def look_at_report(console: Visit) -> None:
    """Opens the report in a tab of its own: it has its style, and breaks no rule of the console."""
    page = console.page
    page.get_by_role("button", name="Fetch the report").click()
    with page.context.expect_page() as opening:
        page.get_by_role("link", name="Open the report").click()
    report = opening.value
    report.get_by_role("heading", name="What the photos support").wait_for()
    assert report.url.startswith("blob:")
    assert report.evaluate("getComputedStyle(document.querySelector('.card')).borderTopStyle") == "solid"
    assert report.evaluate("window.__breaches") == []
    # Nothing in it runs, and no script could be put into it.
    assert report.locator("script").count() == 0
    report.close()


def test_too_few_people_are_told_so_in_german_on_a_telephone(
    site: tuple[Service, str], visit: Visiting, tmp_path: Path
) -> None:
    service, _ = site
    console = signed_in(visit, site, language="de-DE", width=360, color_scheme="dark")
    page = console.page
    console.open("thresholds", "calibrate")
    page.get_by_label("Ordner auswählen").set_input_files(str(few(tmp_path / "wenige")))
    page.get_by_text(f"Kameras: {CAMERA}.").wait_for()
    page.get_by_label("Gescheiterte Fotos und die schlimmsten Fehler").check()
    assert console.inaccessible() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name="Senden und messen").click()
    page.get_by_role("heading", name="Was die Fotos tragen").wait_for(timeout=MEASURED_MS)
    page.get_by_text("Diese Fotos tragen keine Schwelle").wait_for()
    page.get_by_text(
        "14 Proben NIR mit Maske von 14 Personen gegen Referenzen VIS ohne Maske"
    ).first.wait_for()
    page.get_by_text("FMR 1e-2 braucht 300 unabhängige Vergleiche").first.wait_for()
    page.get_by_text("1 weitere Datei ist beschädigt").first.wait_for()
    assert page.get_by_role("button", name="Einspielen").count() == 0
    assert console.inaccessible() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert photos_left(service) == []
    page.get_by_role("button", name="Bericht holen").click()
    with page.context.expect_page() as opening:
        page.get_by_role("link", name="Bericht öffnen").click()
    opening.value.get_by_text("Straße-門.jpg").first.wait_for()
    assert opening.value.locator("img").count() > 10
    opening.value.close()
    # It is found again among the measurements.
    console.open("thresholds", "calibrate")
    row = page.get_by_role("region", name="Messungen").locator("tbody tr").first
    row.get_by_text("14 Personen, 14 Referenzen, 15 Proben.").wait_for()


def test_a_folder_without_references_is_not_sent(
    site: tuple[Service, str], visit: Visiting, tmp_path: Path
) -> None:
    place = tmp_path / "half" / "ada" / "probes"
    place.mkdir(parents=True)
    (place / "a.jpg").write_bytes((SAMPLES / "s01" / "vis_1.jpg").read_bytes())
    console = signed_in(visit, site)
    page = console.page
    console.open("thresholds", "calibrate")
    page.get_by_label("Choose the folder").set_input_files(str(tmp_path / "half"))
    page.get_by_text("Each subject's folder needs the folders references and probes in it.").wait_for()
    assert page.get_by_role("button", name="Send and measure").is_disabled()
    page.get_by_label("An archive").check()
    (tmp_path / "no.zip").write_bytes(b"no archive")
    page.get_by_label("Choose a zip or tar").set_input_files(str(tmp_path / "no.zip"))
    page.get_by_role("button", name="Send and measure").click()
    page.get_by_text("The service cannot use this archive").wait_for()
    # The refusal is an answer, which the browser's console names as well.
    console.errors[:] = [error for error in console.errors if "422" not in error]
