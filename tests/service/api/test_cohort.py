"""A bundle's cohort over HTTP: what scores are, and thresholds that were installed before it came."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from faces.bundle import open_cohort, read
from tests.cohorts import bundle_with_cohort
from tests.conftest import Service, sample_bytes
from tests.service.api.test_errors import enroll, identify, problem
from tests.service.api.test_thresholds import PAIR, PROBE, table

SUBJECTS = ("s01", "s02", "s03")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cohort")


@pytest.fixture(scope="module")
def plain(place: Path, bundle_dir: Path) -> dict[str, Any]:
    """Enrols and installs thresholds while scores are cosines; then that service ends."""
    running = Service(place / "data", {"HALFLIGHT_BUNDLE_DIR": str(bundle_dir)}).start()
    with running.client() as client:
        for name in SUBJECTS:
            assert enroll(client, name, sample_bytes(name)).status_code == 201
        made = table(client, {"1e-2": 0.11})
        installed = client.post("/admin/thresholds", json={"thresholds": made})
        assert installed.status_code == 201, installed.text
        answer = identify(client, sample_bytes("s01", PROBE)).json()
        before = client.get("/admin/thresholds").json()
        assert (before["active"], before["cohort"], before["set_aside"]) == (1, None, None)
    running.stop()
    return {"table": made, "answer": answer}


@pytest.fixture(scope="module")
def client(place: Path, bundle_dir: Path, plain: dict[str, Any]) -> Iterator[httpx.Client]:
    """The same data under a bundle of the same space that has a cohort."""
    bundle = bundle_with_cohort(bundle_dir, place / "with-cohort", lower=1.2)
    running = Service(place / "data", {"HALFLIGHT_BUNDLE_DIR": str(bundle)}).start()
    with running.client() as client:
        yield client
    running.stop()


def embedded(client: httpx.Client, data: bytes, role: str) -> dict[str, Any]:
    answer = client.post(
        "/embed", content=data, params={"role": role}, headers={"Content-Type": "image/jpeg"}
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["results"][0]
    return found


def test_installed_thresholds_for_cosines_do_not_decide_and_the_answer_says_what_to_do(
    client: httpx.Client, plain: dict[str, Any]
) -> None:
    now = client.get("/admin/thresholds").json()
    assert now["active"] is None
    assert now["set_aside"]["version"] == 1
    assert "evaluate your photos again" in now["set_aside"]["why"]
    assert [(one["active"], one["usable"]) for one in now["thresholds"]] == [(False, False)]
    decided = identify(client, sample_bytes("s01", PROBE), fmr="1e-2").json()["results"][0]
    assert decided["calibration"]["version"] is None
    assert decided["threshold"] != 0.11
    assert decided["calibration"]["id"] != plain["answer"]["results"][0]["calibration"]["id"]
    refused = problem(
        client.post("/admin/thresholds", json={"thresholds": plain["table"]}), 422, "invalid_thresholds"
    )
    assert "plain cosines" in refused["detail"]
    problem(client.post("/admin/thresholds/1/activate"), 422, "invalid_thresholds")


def test_scores_are_relative_to_the_cohort_in_every_answer(client: httpx.Client, place: Path) -> None:
    bundle = read(place / "with-cohort")
    assert open_cohort(bundle) is not None
    assert bundle.manifest.calibration is not None
    probe = embedded(client, sample_bytes("s01", PROBE), "probe")
    reference = embedded(client, sample_bytes("s01"), "reference")
    assert probe["cohort"] == reference["cohort"] == bundle.manifest.calibration.cohort_id
    cosine = float(np.dot(probe["embedding"], reference["embedding"]))
    expected = cosine - probe["taken"]["vis-unmasked"] - reference["taken"]["nir-masked"]
    assert expected != pytest.approx(cosine, abs=1e-3)
    found = identify(client, sample_bytes("s01", PROBE)).json()["results"][0]
    scores = {one["subject_id"]: one["score"] for one in found["candidates"]}
    assert scores["s01"] == pytest.approx(expected, abs=1e-4)
    assert found["candidates"][0]["pair"] == PAIR
    cosines = {one["subject_id"]: one["cosine"] for one in found["candidates"]}
    assert cosines["s01"] == pytest.approx(cosine, abs=1e-4)
    for field in ({"subject_id": "s01"}, {}):
        files = {"image": sample_bytes("s01", PROBE)} | ({} if field else {"reference": sample_bytes("s01")})
        verified = client.post("/verify", files=files, data=field).json()
        assert verified["score"] == pytest.approx(expected, abs=1e-4)
        assert verified["cosine"] == pytest.approx(cosine, abs=1e-4)


def test_going_back_to_the_bundles_own_forgets_what_was_set_aside(client: httpx.Client) -> None:
    client.post("/admin/thresholds/bundle/activate").raise_for_status()
    assert client.get("/admin/thresholds").json()["set_aside"] is None
    made = table(client, {"1e-2": 0.12})
    assert made["cohort"] is not None
    assert client.post("/admin/thresholds", json={"thresholds": made}).status_code == 201
    assert client.get("/admin/thresholds").json()["active"] == 2
    decided = identify(client, sample_bytes("s01", PROBE), fmr="1e-2").json()["results"][0]
    assert (decided["threshold"], decided["calibration"]["version"]) == (0.12, 2)
