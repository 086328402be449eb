"""Retraining through HTTP from what is a customer's own: an uploaded archive, and enrolled crops."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import pytest

from faces.align import ALIGNMENTS
from faces.types import AlignedCrop, Pixels, Spectrum
from service.crops import encode_crops
from service.sealing.sources import KeyFile, MasterKeys
from service.store.database import Database
from service.store.records import NewSample
from tests.conftest import StartService
from tests.service.retraining.test_archive import zipped
from tests.service.store.support import new_sample
from tests.training.jobs.retrain_sets import SIDE, pattern

WAIT_S = 3600.0
TRAIN, HELD = 8, 78
# Held-out subjects are drawn from those to learn from, and half of them must be left.
ENROLLED = 2 * HELD
ALIGNMENT = "arcface-112"


def wait_succeeded(client: httpx.Client, job_id: str) -> dict[str, Any]:
    end = time.monotonic() + WAIT_S
    while (job := client.get(f"/admin/jobs/{job_id}").json())["ended_at"] is None:
        assert time.monotonic() < end, job
        time.sleep(0.2)
    assert job["state"] == "succeeded", job["message"]
    found: dict[str, Any] = job
    return found


def check_registered(client: httpx.Client, job: dict[str, Any], condition: str, subjects: int) -> None:
    """The job says how the network did on so many held-out subjects, and its space waits."""
    assert not job["metrics"]["activated"]
    assert job["metrics"]["rank1"][condition]["subjects"] == subjects
    space = client.get(f"/admin/spaces/{job['metrics']['space_id']}").json()
    assert space["state"] == "registered"
    assert set(space["metrics"]["fnmr"]) == {"vis-unmasked", "vis-masked", "nir-unmasked", "nir-masked"}


def check_evaluation(client: httpx.Client, dataset: str) -> None:
    """The active bundle on the same archive: rates with intervals, curves, thresholds, nothing changed."""
    before = client.get("/admin/spaces").json()
    asked = client.post("/admin/evaluate", json={"dataset": dataset})
    assert asked.status_code == 202, asked.text
    metrics = wait_succeeded(client, asked.json()["job_id"])["metrics"]
    found = {one["condition"]: one["figures"] for one in metrics["conditions"]}
    assert found["nir-unmasked"]["probes"] == HELD
    assert found["nir-unmasked"]["rank1"]["low"] <= found["nir-unmasked"]["rank1"]["value"]
    assert 0 < found["nir-unmasked"]["verification"][0]["threshold"] < 1
    for curve in ("det", "cmc"):
        assert {line["condition"] for line in metrics[curve]} == set(found)
        assert all(len(line["x"]) == len(line["y"]) > 1 for line in metrics[curve])
    assert client.get("/admin/spaces").json() == before


def pictures() -> Iterator[tuple[str, bytes]]:
    """A manifest, pictures of made-up subjects, and beside each one where its eyes are."""
    lines = ["path,subject,spectrum,split,role"]
    (ax, ay), (bx, by) = ALIGNMENTS[ALIGNMENT].points[:2]
    eyes = f"{ax} {ay} {bx} {by}\n".encode()
    for subject in range(TRAIN + HELD):
        held = subject >= TRAIN
        for view, light in enumerate(("vis", "vis", "nir")):
            name = f"p{subject}/{light}/{view}.png"
            role = ("probe" if view else "gallery") if held else "none"
            lines.append(f"{name},p{subject},{light},{'validation' if held else 'train'},{role}")
            yield f"set/{name}", png(pattern(subject, view, grey=light == "nir"))
            yield f"set/{name}.pos", eyes
    yield "set/manifest.csv", "\n".join(lines).encode()


def png(pixels: Pixels) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


@pytest.mark.slow
def test_a_retraining_uses_an_uploaded_archive(start_service: StartService) -> None:
    service = start_service(OMP_NUM_THREADS="1")
    with service.client() as client:
        sent = client.post(
            "/admin/datasets", content=zipped(dict(pictures())), headers={"content-type": "application/zip"}
        )
        assert sent.status_code == 201, sent.text
        asked = {"dataset": sent.json()["dataset_id"], "preset": "adapter", "iterations": 2}
        answer = client.post("/admin/retrain", json=asked)
        assert answer.status_code == 202, answer.text
        job = wait_succeeded(client, answer.json()["job_id"])
        check_evaluation(client, asked["dataset"])
        # The masks are drawn by the job.
        check_registered(client, job, "nir-masked", HELD)
        assert not (service.data / "jobs" / job["job_id"] / "private").exists()
        assert client.delete(f"/admin/datasets/{asked['dataset']}").status_code == 200


async def fill(data: Path) -> None:
    """As many enrolled subjects as it takes, two visible and one near-infrared photo each, without templates.
    Through HTTP they would be enrolled one by one."""
    db = await Database.open(
        f"sqlite+aiosqlite:///{data / 'halflight.db'}", MasterKeys(KeyFile(data / "master.key"))
    )
    await db.migrate()
    async with db.write() as uow:
        for subject in range(ENROLLED):
            name = f"own-{subject}"
            await uow.subjects.ensure(name, None)
            for view, light in enumerate((Spectrum.VIS, Spectrum.VIS, Spectrum.NIR)):
                facts = {field: getattr(new_sample(name), field) for field in NewSample.__slots__}
                sample_id = await uow.samples.add(NewSample(**(facts | {"spectrum": light})))
                crop = AlignedCrop(
                    pattern(subject, view, grey=light is Spectrum.NIR), ALIGNMENT, SIDE / 3, light
                )
                await uow.crops.add(sample_id, encode_crops([crop]))
        await uow.commit()
    await db.close()


@pytest.fixture
async def filled(tmp_path: Path) -> Path:
    """A data directory with enrolled subjects in it."""
    await fill(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_retraining_uses_enrolled_crops(start_service: StartService, filled: Path) -> None:
    service = start_service(data=filled, OMP_NUM_THREADS="1")
    with service.client() as client:
        asked = {"dataset": "enrolled", "preset": "adapter", "iterations": 2}
        answer = client.post("/admin/retrain", json=asked)
        assert answer.status_code == 202, answer.text
        job = wait_succeeded(client, answer.json()["job_id"])
        check_registered(client, job, "nir-unmasked", HELD)
    assert not (filled / "jobs" / job["job_id"] / "private").exists()
