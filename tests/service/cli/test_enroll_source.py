"""Tests `halflight enroll SOURCE`: folders, archives and lists, their report, and a run that is killed."""

from __future__ import annotations

import csv
import io
import json
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.bulk.journal import JOURNAL
from service.settings import builtin_bundle
from tests.conftest import SAMPLES, Service, StartService, sample_bytes
from tests.service.cli.command import HALFLIGHT, environment, fails, halflight, photo, succeeds

BROKEN = b"\xff\xd8\xff\xe0 cut short"
BUILTIN = {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle())}
SUBJECTS = sorted(place.name for place in SAMPLES.iterdir() if place.is_dir())


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose gallery only these tests fill, with the bundle that tells rendered subjects apart."""
    running = Service(tmp_path_factory.mktemp("bulk") / "data", BUILTIN).start()
    yield running
    running.stop()


@pytest.fixture
def env(own: Service) -> Iterator[dict[str, str]]:
    """The gallery is empty again after each test."""
    yield {"HALFLIGHT_URL": own.url}
    with own.client() as client:
        found = [one["subject_id"] for one in client.get("/subjects").json()["subjects"]]
        if found:
            client.post("/subjects/delete", json={"subject_ids": found}).raise_for_status()


def people(root: Path, *, subjects: list[str] = SUBJECTS, photos: tuple[int, ...] = (1,)) -> Path:
    """A folder of rendered subjects."""
    for subject in subjects:
        for i in photos:
            photo(root / subject, f"vis_{i}.jpg", sample_bytes(subject, f"vis_{i}.jpg"))
    return root


def enrolled(env: dict[str, str]) -> dict[str, int]:
    """Samples by subject."""
    with httpx.Client(base_url=env["HALFLIGHT_URL"], timeout=60) as client:
        ids = [one["subject_id"] for one in client.get("/subjects").json()["subjects"]]
        return {one: len(client.get(f"/subjects/{one}").json()["samples"]) for one in sorted(ids)}


def rows_of(report: Path) -> list[dict[str, str]]:
    with (report / "report.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_folder_is_enrolled_and_what_is_refused_stands_in_the_report_with_its_picture(
    tmp_path: Path, env: dict[str, str]
) -> None:
    root, report = people(tmp_path / "people"), tmp_path / "report"
    photo(root / "s01", "broken.jpg", BROKEN)
    photo(root / "s02", "words.jpg", b"no picture at all")
    photo(root / "s05", "zz_other.jpg", sample_bytes("s04", "vis_2.jpg"))
    photo(root / "twin", "1.jpg", sample_bytes("s06", "vis_2.jpg"))
    photo(root, "<stray>.jpg", sample_bytes("s07"))
    command: list[str | Path] = ["enroll", root, "--report", report, "--jobs", "1"]
    fails(1, *command, expected=["14 photos enrolled, 5 files refused"], env=env)
    assert enrolled(env) == dict.fromkeys(SUBJECTS, 1)
    rows = rows_of(report)
    assert len(rows) == 19
    refused = {
        row["file"]: (row["code"], row["conflict"], row["other_subject"]) for row in rows if row["code"]
    }
    # A face of s04 beside that of s05 is two faces under one, and one face under two.
    code, conflict, _ = refused.pop("s05/zz_other.jpg")
    assert (code, conflict) in [
        ("subject_mismatch", "two_faces_under_one_subject"),
        ("duplicate_face", "one_face_under_two_subjects"),
    ]
    assert refused == {
        "<stray>.jpg": ("no_subject", "", ""),
        "s01/broken.jpg": ("undecodable_image", "", ""),
        "s02/words.jpg": ("unsupported_media_type", "", ""),
        "twin/1.jpg": ("duplicate_face", "one_face_under_two_subjects", "s06"),
    }
    page = (report / "report.html").read_text()
    assert "&lt;stray&gt;.jpg" in page
    assert "<stray>" not in page
    assert "sent as <b>twin</b>, has the face of <b>s06</b>" in page
    # The twin and the other face, in their conflict and among the refusals; the broken ones have no picture.
    assert page.count("data:image/jpeg;base64,") == 4
    assert "http://" not in page
    assert "https://" not in page
    assert oct((report / "report.html").stat().st_mode & 0o777) == "0o600"
    assert not list(report.glob(f"{JOURNAL}*"))


def test_two_faces_under_one_subject_are_told_where_duplicates_are_not_looked_for(
    tmp_path: Path, service: Service
) -> None:
    root, report = tmp_path / "people", tmp_path / "report"
    photo(root / "cli-two-faces", "1.jpg", sample_bytes("s04"))
    photo(root / "cli-two-faces", "2.jpg", sample_bytes("s10"))
    options: list[str | Path] = ["--report", report, "--duplicates", "ignore", "--url", service.url]
    fails(1, "enroll", root, *options, expected=["1 photos enrolled, 1 files refused"])
    first, second = rows_of(report)
    assert (first["result"], second["code"]) == ("enrolled", "subject_mismatch")
    assert second["conflict"] == "two_faces_under_one_subject"
    page = (report / "report.html").read_text()
    assert "another face than the photos of <b>cli-two-faces</b>" in page


def test_a_duplicate_that_is_only_reported_is_enrolled_and_named(tmp_path: Path, env: dict[str, str]) -> None:
    root, report = tmp_path / "people", tmp_path / "report"
    photo(root / "a", "1.jpg", sample_bytes("s01"))
    photo(root / "b", "1.jpg", sample_bytes("s01"))
    options: list[str | Path] = ["--duplicates", "report", "--jobs", "1", "--report", report]
    result = succeeds("enroll", root, *options, env=env)
    assert "b/1.jpg: looks like subject a (score 1.000)" in result.err
    _, second = rows_of(report)
    assert [second[name] for name in ("result", "conflict", "other_subject", "score")] == [
        *("enrolled", "one_face_under_two_subjects", "a", "1.0000"),
    ]


def archive_of(path: Path, root: Path, *, around: str = "") -> Path:
    names = sorted(place.relative_to(root).as_posix() for place in root.rglob("*") if place.is_file())
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name in names:
                packed.write(root / name, around + name)
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as tar:
            for name in names:
                tar.add(root / name, around + name)
    return path


@pytest.mark.parametrize(("name", "around"), [("a.zip", ""), ("a.tar", "lfw/"), ("a.tgz", "some/set/")])
def test_an_archive_is_enrolled_like_its_folder(
    name: str, around: str, tmp_path: Path, env: dict[str, str]
) -> None:
    root = people(tmp_path / "people", subjects=["s01", "s02"], photos=(1, 2))
    photo(root / "s02", "broken.jpg", BROKEN)
    photo(root / "s02", "Thumbs.db", b"no photo")
    packed = archive_of(tmp_path / name, root, around=around)
    expected = ["4 photos enrolled, 1 files refused, 2 subjects, 1 other files skipped"]
    result = fails(1, "enroll", packed, expected=expected, env=env)
    assert [row[:2] for row in result.cells()] == [["s02/broken.jpg", "undecodable_image"]]
    assert enrolled(env) == {"s01": 2, "s02": 2}


def test_a_damaged_or_hostile_archive_is_refused_before_anything_is_enrolled(
    tmp_path: Path, env: dict[str, str]
) -> None:
    packed = archive_of(tmp_path / "a.tgz", people(tmp_path / "people", subjects=["s01", "s02"]))
    packed.write_bytes(packed.read_bytes()[:-2000])
    fails(1, "enroll", packed, expected=["a.tgz: the archive is cut off or damaged"], env=env)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as hostile:
        hostile.writestr("s01/1.jpg", sample_bytes("s01"))
        hostile.writestr("../s02/1.jpg", sample_bytes("s02"))
    fails(1, "enroll", tmp_path / "b.zip", expected=["an entry's name leads out of the archive"], env=env)
    words = photo(tmp_path, "words.zip", b"no archive at all")
    fails(1, "enroll", words, expected=["words.zip: neither a zip nor a tar archive"], env=env)
    assert enrolled(env) == {}


def listed(path: Path, *rows: dict[str, Any]) -> Path:
    text = io.StringIO()
    out = csv.DictWriter(text, ["subject", "path", "display_name", "metadata", "spectrum"])
    out.writeheader()
    out.writerows(rows)
    path.write_text(text.getvalue())
    return path


def test_a_list_gives_names_metadata_and_the_spectrum(tmp_path: Path, env: dict[str, str]) -> None:
    people(tmp_path, subjects=["s01", "s02"])
    photo(tmp_path / "s02", "nir.jpg", sample_bytes("s02", "nir_masked_1.jpg"))
    rows = [
        {"subject": "ada", "path": "s01/vis_1.jpg", "display_name": "Ada L.", "metadata": '{"floor": 3}'},
        {"subject": "bea", "path": "s02/vis_1.jpg"},
        {"subject": "bea", "path": "s02/nir.jpg", "spectrum": "nir"},
    ]
    succeeds("enroll", listed(tmp_path / "people.csv", *rows), "--duplicates", "ignore", env=env)
    with httpx.Client(base_url=env["HALFLIGHT_URL"], timeout=60) as client:
        ada, bea = client.get("/subjects/ada").json(), client.get("/subjects/bea").json()
    assert (ada["display_name"], ada["metadata"]) == ("Ada L.", {"floor": 3})
    assert [sample["spectrum"] for sample in bea["samples"]] == ["vis", "nir"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"subject": "", "path": "a.jpg"}, "people.csv, line 3: subject: "),
        ({"subject": "a", "path": "a.jpg", "metadata": "[1"}, "people.csv, line 3: metadata: "),
        ({"subject": "a", "path": "a.jpg", "spectrum": "uv"}, "people.csv, line 3: spectrum: "),
        ({"subject": "a", "path": "../a.jpg"}, "paths must lead to files below the folder"),
        ({"subject": "a", "path": "/etc/a.jpg"}, "paths must lead to files below the folder"),
    ],
)
def test_a_fault_in_a_list_is_named_before_anything_is_enrolled(
    row: dict[str, str], expected: str, tmp_path: Path, env: dict[str, str]
) -> None:
    photo(tmp_path, "good.jpg", sample_bytes("s01"))
    rows = [{"subject": "good", "path": "good.jpg"}, row]
    fails(1, "enroll", listed(tmp_path / "people.csv", *rows), expected=[expected], env=env)
    assert enrolled(env) == {}


def test_a_file_that_a_list_names_and_nobody_finds_is_refused_alone(
    tmp_path: Path, env: dict[str, str]
) -> None:
    photo(tmp_path, "good.jpg", sample_bytes("s01"))
    rows = [{"subject": "gone", "path": "gone.jpg"}, {"subject": "good", "path": "good.jpg"}]
    result = fails(1, "enroll", listed(tmp_path / "p.csv", *rows), expected=["1 photos enr"], env=env)
    assert [row[:2] for row in result.cells()] == [["gone.jpg", "unreadable_file"]]


def test_a_report_needs_a_source(tmp_path: Path) -> None:
    result = halflight("enroll", "cli-x", "a.jpg", "--report", "r", cwd=tmp_path)
    assert result.code == 2
    assert "--report needs a folder, an archive or a CSV" in " ".join(result.err.split())


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_and_describes_no_photo_twice(
    tmp_path: Path, start_service: StartService
) -> None:
    service = start_service(**BUILTIN)
    env = {"HALFLIGHT_URL": service.url}
    root, report = people(tmp_path / "people", photos=(1, 2)), tmp_path / "report"
    photo(root / "s01", "broken.jpg", BROKEN)
    # Two of the rendered people look like one to the bundle.
    command = ["enroll", str(root), "--report", str(report), "--jobs", "2", "--duplicates", "ignore"]
    running = subprocess.Popen(
        [sys.executable, *HALFLIGHT[1:], *command],
        env=environment(env),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 120
    while not _kept(report) and time.monotonic() < end:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = _kept(report)
    assert 0 < before < 29
    described = _described(service)
    assert described < 28
    result = fails(1, *command, expected=[f"{before} files were sent before; going on"], env=env)
    assert "28 photos enrolled, 1 files refused, 14 subjects" in result.err
    assert enrolled(env) == dict.fromkeys(SUBJECTS, 2)
    # Two photos at most were in work when the run was killed.
    once = _described(service)
    assert 28 <= once <= 30
    # A run that has ended is not gone on with: the service's own memory tells that all are there.
    fails(1, *command, expected=["28 photos enrolled, 1 files refused"], env=env)
    assert _described(service) == once
    assert len(rows_of(report)) == 29


@pytest.mark.slow
def test_a_run_waits_for_a_service_that_was_killed_and_goes_to_its_end(
    tmp_path: Path, start_service: StartService
) -> None:
    service = start_service(**BUILTIN)
    env = {"HALFLIGHT_URL": service.url}
    root, report = people(tmp_path / "people", photos=(1, 2)), tmp_path / "report"
    # Two of the rendered people look like one to the bundle.
    command = ["enroll", str(root), "--report", str(report), "--jobs", "2", "--duplicates", "ignore"]
    running = subprocess.Popen(
        [sys.executable, *HALFLIGHT[1:], *command], env=environment(env), stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 120
    while not _kept(report) and time.monotonic() < end:
        time.sleep(0.02)
    service.kill()
    assert 0 < _kept(report) < 28
    service.start()
    _, said = running.communicate(timeout=300)
    assert running.returncode == 0, said
    assert "waiting for it" in said
    assert "28 photos enrolled, 0 files refused, 14 subjects" in said
    assert enrolled(env) == dict.fromkeys(SUBJECTS, 2)


def _kept(report: Path) -> int:
    """The outcomes that are safe in the journal."""
    if not (report / JOURNAL).is_file():
        return 0
    try:
        with sqlite3.connect(f"file:{report / JOURNAL}?mode=ro", uri=True) as journal:
            return int(journal.execute("SELECT count(*) FROM outcomes").fetchone()[0])
    except sqlite3.Error:
        return 0


def _described(service: Service) -> int:
    """How many faces the encoder of a service has embedded."""
    text = httpx.get(f"{service.url}/metrics").text
    name = 'halflight_batch_items_sum{network="embed"}'
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    return int(float(line.split()[-1]))


def test_json_tells_each_file(tmp_path: Path, env: dict[str, str]) -> None:
    root = people(tmp_path / "people", subjects=["s01", "s02"])
    lines = succeeds("enroll", root, "--json", env=env).lines()
    assert [(line["file"], len(line["samples"])) for line in lines] == [
        ("s01/vis_1.jpg", 1),
        ("s02/vis_1.jpg", 1),
    ]
    assert json.dumps(lines).count("problem") == 0
