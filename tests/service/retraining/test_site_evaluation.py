"""An evaluation by the service's own pipeline: an upload, no training extra, no names in the row."""

from __future__ import annotations

import io
import json
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from service.cli.samples import load_samples
from service.evaluation.kept import NAME
from service.evaluation.report import PAGE
from service.retraining.report_erasure import REPORT, remove_old_reports
from service.settings import builtin_bundle
from tests.conftest import Service
from tests.service.api.test_errors import enroll, problem


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    # An interpreter that is not there: nothing of the training package can run.
    env = {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle()), "HALFLIGHT_TRAIN_PYTHON": "/nonexistent/python"}
    # Reads are in the audit log before they are answered.
    env["HALFLIGHT_AUDIT"] = "strict"
    running = Service(tmp_path_factory.mktemp("site") / "data", env).start()
    yield running
    running.stop()


def archive(camera: str = "door-1/", people: int = 14) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for subject in load_samples()[:people]:
            name = subject.subject_id
            made.write(subject.vis[0], f"set/{name}/references/1.jpg")
            made.write(subject.nir_masked[0], f"set/{name}/probes/{camera}a.jpg")
        made.writestr(f"set/s01/probes/{camera}torn.jpg", load_samples()[0].vis[0].read_bytes()[:1500])
    return out.getvalue()


def finished(client: httpx.Client, job_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 900
    while True:
        job: dict[str, Any] = client.get(f"/admin/jobs/{job_id}").json()
        if job["state"] not in ("queued", "running"):
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.5)


def test_an_uploaded_archive_is_evaluated_without_the_training_package(site: Service) -> None:
    with site.client() as client:
        sent = client.post("/admin/datasets", content=archive(), headers={"Content-Type": "application/zip"})
        assert sent.status_code == 201, sent.text
        dataset = sent.json()["dataset_id"]
        problem(client.post("/admin/evaluate", json={"dataset": dataset}), 409, "training_unavailable")
        asked = client.post("/admin/evaluate", json={"dataset": dataset, "by": "service"})
        assert asked.status_code == 202, asked.text
        job = finished(client, asked.json()["job_id"])
        assert job["state"] == "succeeded", job
        metrics = job["metrics"]
        pair = next(one for one in metrics["pairs"] if one["camera"] == "door-1")
        assert (pair["pair"], pair["coverage"]["people"]) == ("vis-unmasked/nir-masked", 14)
        assert pair["coverage"]["comparisons"] == 14 * 13
        assert len(pair["in_force"]) >= 3
        # 14 people support none of the bundle's FMRs, and the answer says what they lack.
        assert metrics["thresholds"] is None
        assert any("supports no threshold" in said for said in metrics["coverage"])
        probes = next(
            one for one in metrics["acquisition"] if one["role"] == "probe" and one["camera"] is None
        )
        assert (probes["attempts"], probes["broken"]) == (14, 1)
        assert "torn.jpg" not in json.dumps(job)
        assert "s01" not in json.dumps(job)
        listed = client.get("/subjects").json()["subjects"]
        assert listed == []
    place: Path = site.data / "jobs" / job["job_id"]
    assert "s01/probes/door-1/torn.jpg" in (place / REPORT / PAGE).read_text()
    assert not list(place.rglob(NAME))


def test_who_evaluates_is_one_of_two(site: Service) -> None:
    with site.client() as client:
        answer = client.post("/admin/evaluate", json={"dataset": "x", "by": "magic"})
        problem(answer, 422, "invalid_parameter")


ZIP = {"Content-Type": "application/zip"}
UPLOAD = "/admin/evaluate/upload"


def photos_left(site: Service) -> list[Path]:
    return [path for path in (site.data / "evaluations").rglob("*") if path.is_file()]


def started(client: httpx.Client, content: bytes, **options: Any) -> str:
    asked = client.post(UPLOAD, content=content, headers=ZIP, params=options)
    assert asked.status_code == 202, asked.text
    return str(asked.json()["job_id"])


def test_uploaded_photos_are_measured_and_erased_and_the_report_goes_after_a_day(site: Service) -> None:
    with site.client() as client:
        job = finished(client, started(client, archive(""), camera="gate", pictures=True))
        assert job["state"] == "succeeded", job
        assert photos_left(site) == []
        # Templates of the photos are gone as well.
        assert not list((site.data / "jobs" / job["job_id"]).rglob(NAME))
        one = next(each for each in job["metrics"]["pairs"] if each["camera"] == "gate")
        coverage = one["coverage"]
        assert (coverage["people"], coverage["supports"], coverage["limit"]) == (14, None, "comparisons")
        assert coverage["next_fmr"] == 0.01
        assert "s01" not in json.dumps(job)

        report = client.get(f"/admin/evaluate/{job['job_id']}/report")
        assert report.headers["content-type"].startswith("text/html")
        assert "s01/probes/torn.jpg" in report.text
        # Pictures were asked for: the worst mistakes show the two photos.
        assert report.text.count("data:image/jpeg;base64,") > 10
        read = client.get("/admin/audit", params={"action": "read"}).json()["entries"]
        assert "/admin/evaluate/{job_id}/report" in [entry["detail"]["route"] for entry in read]

        place = site.data / "jobs" / job["job_id"] / REPORT
        old = time.time() - 25 * 3600
        os.utime(place / PAGE, (old, old))
        remove_old_reports(site.data / "jobs")
        assert not place.exists()
        problem(client.get(f"/admin/evaluate/{job['job_id']}/report"), 404, "job_not_found")


def test_a_failed_or_cancelled_evaluation_leaves_no_photo_and_no_template(site: Service) -> None:
    out = io.BytesIO()
    grey = cv2.imencode(".png", np.full((64, 64, 3), 90, np.uint8))[1].tobytes()
    with zipfile.ZipFile(out, "w") as made:
        for folder in ("references", "probes"):
            made.writestr(f"ada/{folder}/wall.png", grey)
    with site.client() as client:
        job = finished(client, started(client, out.getvalue()))
        assert (job["state"], job["message"]) == (
            "failed",
            "no reference gave a template: the list of failures says why",
        )
        assert photos_left(site) == []

        job_id = started(client, archive())
        busy = client.post(UPLOAD, content=archive(), headers=ZIP)
        problem(busy, 409, "job_running")
        client.post(f"/admin/jobs/{job_id}/cancel").raise_for_status()
        job = finished(client, job_id)
        assert job["state"] == "cancelled"
        assert photos_left(site) == []
        assert not list((site.data / "jobs").rglob(NAME))
        problem(client.get(f"/admin/evaluate/{job_id}/report"), 404, "job_not_found")


@pytest.mark.slow
def test_a_killed_evaluation_of_uploaded_photos_goes_on_and_erases_them(tmp_path: Path) -> None:
    env = {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle()), "HALFLIGHT_JOB_LEASE_S": "2"}
    service = Service(tmp_path / "data", env).start()
    with service.client() as client:
        job_id = started(client, archive())
        while client.get(f"/admin/jobs/{job_id}").json()["stage"] != "describing":
            time.sleep(0.05)
    service.kill()
    assert photos_left(service)
    service = Service(tmp_path / "data", env).start()
    try:
        with service.client() as client:
            job = finished(client, job_id)
        assert job["state"] == "succeeded", job
        assert job["metrics"]["probes"] == 15
        assert photos_left(service) == []
        assert not list((service.data / "jobs").rglob(NAME))
    finally:
        service.stop()


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"ada/references/1.jpg": b"x"}, "there are no probes"),
        ({"ada/1.jpg": b"x"}, "it holds neither manifest.csv"),
        ({"manifest.csv": b"path,subject,role\n../x.jpg,ada,probe\n"}, "manifest.csv, line 2"),
    ],
)
def test_an_archive_of_no_use_starts_no_job_and_leaves_nothing(
    site: Service, files: dict[str, bytes], told: str
) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, data in files.items():
            made.writestr(name, data)
    with site.client() as client:
        before = client.get("/admin/jobs").json()["jobs"]
        answer = client.post(UPLOAD, content=out.getvalue(), headers=ZIP)
        # The names in it are those of the archive.
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_archive")
        assert told in answer.json()["detail"]
        assert client.get("/admin/jobs").json()["jobs"] == before
    assert photos_left(site) == []


def test_what_the_training_package_does_not_know_needs_the_service(site: Service) -> None:
    with site.client() as client:
        asked = {"dataset": "x", "camera": "gate"}
        problem(client.post("/admin/evaluate", json=asked), 422, "invalid_parameter")
        for wrong in ({"camera": "no/name"}, {"pictures": "perhaps"}, {"fmr": "2"}):
            answer = client.post(UPLOAD, content=archive(), headers=ZIP, params=wrong)
            problem(answer, 422, "invalid_parameter")
        assert photos_left(site) == []


@pytest.mark.slow
def test_probes_are_compared_with_the_enrolled_gallery(tmp_path: Path) -> None:
    env = {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle())}
    service = Service(tmp_path / "data", env).start()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for subject in load_samples():
            made.write(subject.nir_masked[0], f"{subject.subject_id}/probes/a.jpg")
        # The photo that was enrolled is no probe of anything, and what is sent as a reference is none here.
        made.write(load_samples()[0].vis[0], "s01/probes/enrolled.jpg")
        made.write(load_samples()[0].vis[1], "s01/references/other.jpg")
    try:
        with service.client() as client:
            for subject in load_samples()[:12]:
                photo = subject.vis[0].read_bytes()
                enroll(client, subject.subject_id, photo).raise_for_status()
            problem(client.post(UPLOAD, content=out.getvalue()[:-9], headers=ZIP), 422, "invalid_archive")
            job = finished(client, started(client, out.getvalue(), references="gallery", camera="gate"))
            report = client.get(f"/admin/evaluate/{job['job_id']}/report").text
        assert job["state"] == "succeeded", job
        metrics = job["metrics"]
        assert (metrics["against"], metrics["gallery_templates"]) == ("gallery", 12)
        assert (metrics["references"], metrics["probes"]) == (12, 15)
        # Twelve probes with eleven others each, and two strangers with twelve.
        one = next(each for each in metrics["pairs"] if each["camera"] == "gate")
        assert (one["coverage"]["comparisons"], one["coverage"]["people"]) == (12 * 11 + 2 * 12, 14)
        assert one["mated"] == 12
        searched = next(each for each in metrics["identification"] if each["camera"] == "gate")
        assert (searched["searches"], searched["enrolled"]) == (14, 12)
        assert searched["rank1"]["value"] > 0.5
        assert [each["role"] for each in metrics["acquisition"]] == ["probe", "probe"]
        assert metrics["acquisition"][0]["broken"] == 1
        assert "s01" not in json.dumps(metrics)
        assert "it is the same picture as s01, enrolled sample" in report
        assert photos_left(service) == []

        # The report names whoever is erased, so it goes with them; figures name nobody and stay.
        with service.client() as client:
            asked = f"/admin/evaluate/{job['job_id']}/report"
            client.delete("/subjects/s12").raise_for_status()
            assert (
                "named a subject that was erased"
                in problem(client.get(asked), 404, "job_not_found")["detail"]
            )
            assert client.get(f"/admin/jobs/{job['job_id']}").json()["metrics"] == metrics
        assert not (service.data / "jobs" / job["job_id"] / REPORT).exists()
    finally:
        service.stop()
