"""Tests POST /enroll/bulk: an archive is enrolled by a job, reported, and goes on after a kill."""

from __future__ import annotations

import csv
import io
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_access import make_key
from tests.service.api.test_errors import problem
from tests.service.bulk.conftest import BUILTIN
from tests.service.jobs.events import Listener

BROKEN = b"\xff\xd8\xff\xe0 cut short"
ZIP = {"content-type": "application/zip"}
SUBJECTS = [f"s{i:02}" for i in range(1, 15)]
WAIT_S = 300.0


def packed(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def submitted(web: httpx.Client, files: Mapping[str, bytes], **options: str) -> str:
    answer = web.post("/enroll/bulk", content=packed(files), headers=ZIP, params=options)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["job_id"])


def until(web: httpx.Client, job_id: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        job: dict[str, Any] = web.get(f"/enroll/bulk/{job_id}").json()
        if holds(job):
            return job
        time.sleep(0.05)
    raise AssertionError(job)


def ended(web: httpx.Client, job_id: str) -> dict[str, Any]:
    return until(web, job_id, lambda job: job["ended_at"] is not None)


def rows_of(web: httpx.Client, job_id: str) -> list[dict[str, str]]:
    answer = web.get(f"/enroll/bulk/{job_id}/report", params={"format": "csv"})
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def embedded(web: httpx.Client) -> int:
    """How many faces the encoder of the service has embedded."""
    name = 'halflight_batch_items_sum{network="embed"}'
    lines = [line for line in web.get("/metrics").text.splitlines() if line.startswith(name)]
    return int(float(lines[0].split()[-1])) if lines else 0


def samples_of(web: httpx.Client, subject_id: str) -> int:
    return len(web.get(f"/subjects/{subject_id}").json()["samples"])


FILES = {
    **{f"set/{subject}/1.jpg": sample_bytes(subject) for subject in SUBJECTS[:4]},
    "set/s01/broken.jpg": BROKEN,
    "set/twin/1.jpg": sample_bytes("s02", "vis_2.jpg"),
    "set/no id/1.jpg": sample_bytes("s09"),
    "set/readme.txt": b"no photo",
}


def test_an_archive_is_enrolled_and_reported_and_its_photos_are_erased(
    web: httpx.Client, own: Service
) -> None:
    job_id = submitted(web, FILES)
    listener = Listener(f"{own.url}/admin/jobs/{job_id}/events")
    job = ended(web, job_id)
    assert (job["kind"], job["state"], job["progress"]) == ("bulk", "succeeded", 1.0)
    counted = {
        name: job["metrics"][name] for name in ("files", "enrolled", "existing", "refused", "conflicts")
    }
    assert counted == {"files": 7, "enrolled": 4, "existing": 0, "refused": 3, "conflicts": 1}
    assert job["metrics"]["by_code"] == {
        "duplicate_face": 1,
        "invalid_parameter": 1,
        "undecodable_image": 1,
    }
    rows = {row["file"]: row for row in rows_of(web, job_id)}
    assert [rows["twin/1.jpg"][name] for name in ("code", "conflict", "other_subject")] == [
        *("duplicate_face", "one_face_under_two_subjects", "s02"),
    ]
    assert [rows["s03/1.jpg"][name] for name in ("result", "code")] == ["enrolled", ""]
    page = web.get(f"/enroll/bulk/{job_id}/report")
    assert page.headers["content-disposition"].startswith("attachment")
    assert "sent as <b>twin</b>, has the face of <b>s02</b>" in page.text
    assert page.text.count("data:image/jpeg;base64,") == 3
    assert [samples_of(web, subject) for subject in SUBJECTS[:4]] == [1, 1, 1, 1]
    assert list((own.data / "bulk").iterdir()) == []
    listener.join(60)
    assert listener.events[-1]["data"]["state"] == "succeeded"
    assert {"enrolling", "reporting", "done"} <= {event["data"]["stage"] for event in listener.events}
    # The job names no subject: its row and events are read by those who may not see people.
    assert not any(subject in str(listener.events) + str(job) for subject in ("s02", "twin"))
    assert any(one["job_id"] == job_id for one in web.get("/admin/jobs").json()["jobs"])


def test_a_photo_that_is_there_costs_no_embedding(web: httpx.Client) -> None:
    files = {name: FILES[name] for name in ("set/s01/1.jpg", "set/s02/1.jpg")}
    assert ended(web, submitted(web, files))["metrics"]["existing"] == 0
    before = embedded(web)
    job_id = submitted(web, files)
    job = ended(web, job_id)
    assert (job["metrics"]["enrolled"], job["metrics"]["existing"]) == (2, 2)
    assert {row["result"] for row in rows_of(web, job_id)} == {"existing"}
    assert embedded(web) == before
    assert samples_of(web, "s01") == 1


def test_a_list_in_the_archive_gives_names_and_metadata(web: httpx.Client) -> None:
    lines = 'subject,path,display_name,metadata\nada,x/1.jpg,Ada,"{""floor"": 3}"\nbea,x/2.jpg,"\t",\n'
    files = {"x/1.jpg": sample_bytes("s05"), "x/2.jpg": sample_bytes("s06"), "manifest.csv": lines.encode()}
    assert ended(web, submitted(web, files, duplicates="ignore"))["state"] == "succeeded"
    ada = web.get("/subjects/ada").json()
    assert (ada["display_name"], ada["metadata"]) == ("Ada", {"floor": 3})
    assert samples_of(web, "bea") == 1


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"", "application/zip", 422, "invalid_archive"),
        (b"no archive", "application/zip", 422, "invalid_archive"),
        (packed(FILES)[:-900], "application/zip", 422, "invalid_archive"),
        (packed({"../up/1.jpg": b"x"}), "application/zip", 422, "invalid_archive"),
        (packed({"readme.txt": b"x"}), "application/zip", 422, "invalid_archive"),
        (packed({"manifest.csv": b"subject,path\na,../1.jpg\n"}), "application/zip", 422, "invalid_archive"),
        (packed(FILES), "image/jpeg", 415, "unsupported_media_type"),
    ],
)
def test_an_archive_that_cannot_be_taken_leaves_nothing(
    content: bytes, kind: str, status: int, code: str, web: httpx.Client, own: Service
) -> None:
    known = len(web.get("/admin/jobs").json()["jobs"])
    problem(web.post("/enroll/bulk", content=content, headers={"content-type": kind}), status, code)
    assert len(web.get("/admin/jobs").json()["jobs"]) == known
    assert list((own.data / "bulk").glob("*")) == []


def test_options_that_are_wrong_are_named(web: httpx.Client) -> None:
    for options in ({"spectrum": "uv"}, {"duplicates": "maybe"}, {"consent_date": "soon"}, {"colour": "red"}):
        answer = web.post("/enroll/bulk", content=packed(FILES), headers=ZIP, params=options)
        problem(answer, 422, "invalid_parameter")


def test_there_is_no_report_of_another_job(web: httpx.Client) -> None:
    for path in ("/enroll/bulk/job-none", "/enroll/bulk/job-none/report", "/enroll/bulk/%00"):
        problem(web.get(path), 404, "job_not_found")


@pytest.mark.slow
def test_a_job_goes_on_after_a_kill_and_embeds_no_photo_of_before(
    tmp_path: Path, start_service: StartService
) -> None:
    data = tmp_path / "killed"
    data.mkdir()
    key = make_key(data, "operator")
    service = start_service(data=data, **BUILTIN)
    files = {f"{s}/{i}.jpg": sample_bytes(s, f"vis_{i}.jpg") for s in SUBJECTS for i in (1, 2)}
    with service.client(key) as web:
        # Two of the rendered people look like one to the bundle.
        job_id = submitted(web, files, duplicates="ignore")
        until(web, job_id, lambda job: job["metrics"].get("enrolled", 0) >= 1)
        service.kill()
    service.start()
    with service.client(key) as web:
        job = ended(web, job_id)
        assert (job["state"], job["metrics"]["enrolled"], job["metrics"]["refused"]) == ("succeeded", 28, 0)
        assert [samples_of(web, subject) for subject in SUBJECTS] == [2] * 14
        # What was committed before the kill was known by its digest.
        assert embedded(web) < 28
        assert len(rows_of(web, job_id)) == 28
    assert list((data / "bulk").iterdir()) == []


@pytest.mark.slow
def test_a_cancelled_job_reports_what_it_did_and_erases_its_photos(web: httpx.Client, own: Service) -> None:
    files = {f"{s}/{i}.jpg": sample_bytes(s, f"vis_{i}.jpg") for s in SUBJECTS for i in (1, 2)}
    job_id = submitted(web, files)
    until(web, job_id, lambda job: job["stage"] == "enrolling")
    web.post(f"/admin/jobs/{job_id}/cancel").raise_for_status()
    job = ended(web, job_id)
    assert job["state"] == "cancelled"
    assert len(rows_of(web, job_id)) == job["metrics"]["enrolled"] + job["metrics"]["refused"]
    assert list((own.data / "bulk").iterdir()) == []
