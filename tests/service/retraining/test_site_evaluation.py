"""An evaluation by the service's own pipeline: an upload, no training extra, no names in the row."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.cli.samples import load_samples
from service.evaluation.kept import NAME
from service.settings import builtin_bundle
from tests.conftest import Service
from tests.service.api.test_errors import problem


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    # An interpreter that is not there: nothing of the training package can run.
    env = {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle()), "HALFLIGHT_TRAIN_PYTHON": "/nonexistent/python"}
    running = Service(tmp_path_factory.mktemp("site") / "data", env).start()
    yield running
    running.stop()


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for subject in load_samples():
            name = subject.subject_id
            made.write(subject.vis[0], f"set/{name}/references/1.jpg")
            made.write(subject.nir_masked[0], f"set/{name}/probes/door-1/a.jpg")
        made.writestr("set/s01/probes/door-1/torn.jpg", load_samples()[0].vis[0].read_bytes()[:1500])
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
    assert "s01/probes/door-1/torn.jpg" in (place / "report" / "report.html").read_text()
    assert not (place / NAME).exists()


def test_who_evaluates_is_one_of_two(site: Service) -> None:
    with site.client() as client:
        answer = client.post("/admin/evaluate", json={"dataset": "x", "by": "magic"})
        problem(answer, 422, "invalid_parameter")
