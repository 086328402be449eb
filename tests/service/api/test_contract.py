"""Tests the answers of the contract on the committed synthetic samples over HTTP."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conftest import SAMPLES, Service, sample_bytes
from tests.service.api.test_errors import enroll, identify, problem, two_faces

FACE = {"box", "landmarks", "detection_score"}
QUALITY = {"score", "reasons", "inter_eye_px", "sharpness", "exposure", "pose"}
STAGES = {"decode", "detect", "embed", "search", "total"}
NIR = "nir_masked_1.jpg"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, bundle_dir: Path) -> Iterator[Service]:
    """A separate service, because other tests enrol the same photos under other names."""
    running = Service(tmp_path_factory.mktemp("contract") / "data").start()
    yield running
    running.stop()


@pytest.fixture
def client(own: Service) -> Iterator[httpx.Client]:
    with own.client() as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def enrolled(own: Service) -> None:
    """Enrols four subjects with two visible-light photos each."""
    with own.client() as client:
        for name in ("s01", "s02", "s03", "s04"):
            photos = (sample_bytes(name), sample_bytes(name, "vis_2.jpg"))
            answer = enroll(client, f"c-{name}", *photos, metadata=f'{{"badge": "{name}"}}')
            assert answer.status_code == 201, answer.text


def check_face(face: dict[str, Any], width: int, height: int) -> None:
    assert face.keys() >= FACE
    x, y, w, h = face["box"]
    assert w > 0
    assert h > 0
    assert -w < x < width
    assert -h < y < height
    assert len(face["landmarks"]) == 5
    eye_left, eye_right, nose = face["landmarks"][:3]
    assert eye_left[0] < eye_right[0], "the first eye is the left one in the picture"
    assert nose[1] > max(eye_left[1], eye_right[1]) - h / 4
    assert 0 < face["detection_score"] <= 1


def test_enrol_returns_every_sample(client: httpx.Client) -> None:
    answer = enroll(client, "c-shape", sample_bytes("s05"), sample_bytes("s05", "vis_2.jpg"))
    body = answer.json()
    assert (answer.status_code, body["subject_id"], body["rejected"]) == (201, "c-shape", [])
    assert body["space_id"].startswith("sp-")
    assert len({sample["sample_id"] for sample in body["samples"]}) == 2
    size = Image.open(io.BytesIO(sample_bytes("s05"))).size
    for sample in body["samples"]:
        check_face(sample["face"], *size)
        assert sample["quality"].keys() >= QUALITY
        assert isinstance(sample["template_id"], int)


def test_identify_lists_one_row_per_subject_best_first(client: httpx.Client) -> None:
    body = identify(client, sample_bytes("s02", NIR), top_k="3").json()
    assert body["timing_ms"].keys() == STAGES
    assert body["timing_ms"]["total"] > 0
    (result,) = body["results"]
    assert result["quality"].keys() >= QUALITY
    condition = result["condition"]
    assert (condition["spectrum"], condition["masked"]) == ("nir", True)
    assert 0.3 < condition["mask_probability"] <= 1
    candidates = result["candidates"]
    assert [c["rank"] for c in candidates] == [1, 2, 3]
    assert len({c["subject_id"] for c in candidates}) == 3, "one row per subject"
    scores = [c["score"] for c in candidates]
    assert scores == sorted(scores, reverse=True)
    first = candidates[0]
    assert first["subject_id"] == "c-s02"
    assert first["metadata"] == {"badge": "s02"}
    for candidate in candidates:
        assert candidate["margin"] == pytest.approx(candidate["score"] - result["threshold"], abs=1e-5)
        assert candidate["decision"] == ("match" if candidate["margin"] >= 0 else "unknown")
    assert result["decision"] == first["decision"]


def test_a_stricter_fmr_has_a_higher_threshold_and_a_given_threshold_decides(client: httpx.Client) -> None:
    probe = sample_bytes("s01", NIR)
    limits = [identify(client, probe, fmr=fmr).json()["results"][0] for fmr in ("1e-2", "1e-3", "1e-4")]
    assert [r["target_fmr"] for r in limits] == [1e-2, 1e-3, 1e-4]
    assert limits[0]["threshold"] < limits[1]["threshold"] < limits[2]["threshold"]
    unknown = identify(client, probe, threshold="1")
    result = unknown.json()["results"][0]
    assert unknown.status_code == 200, "an unknown face is an answer"
    assert (result["decision"], result["threshold"], result["target_fmr"]) == ("unknown", 1.0, None)
    assert result["candidates"], "candidates below the threshold are listed with their scores"


def test_identify_all_returns_every_face(client: httpx.Client) -> None:
    body = identify(client, two_faces(), faces="all", top_k="1").json()
    found = {result["candidates"][0]["subject_id"] for result in body["results"]}
    assert found == {"c-s01", "c-s02"}
    assert len(identify(client, two_faces(), faces="largest").json()["results"]) == 1


def test_a_multipart_probe_and_a_raw_probe_get_the_same_answer(client: httpx.Client) -> None:
    photo = sample_bytes("s03", NIR)
    raw = identify(client, photo).json()["results"]
    form = client.post("/identify", files={"image": ("probe.jpg", photo, "image/jpeg")}).json()["results"]
    assert raw[0]["candidates"] == form[0]["candidates"]


def test_verify_compares_with_a_subject_or_a_photo(client: httpx.Client) -> None:
    probe = {"image": ("probe.jpg", sample_bytes("s01", NIR), "image/jpeg")}
    own = client.post("/verify", data={"subject_id": "c-s01"}, files=probe, params={"fmr": "1e-2"}).json()
    other = client.post("/verify", data={"subject_id": "c-s04"}, files=probe, params={"fmr": "1e-2"}).json()
    assert own["score"] > other["score"]
    assert own["decision"] == "match"
    for body in (own, other):
        assert body["decision"] == ("match" if body["score"] >= body["threshold"] else "non-match")
        assert body["target_fmr"] == 1e-2
        assert body["probe"]["condition"]["masked"] is True
    both = probe | {"reference": ("r.jpg", sample_bytes("s01"), "image/jpeg")}
    pair = client.post("/verify", files=both).json()
    assert pair["reference"]["face"].keys() >= FACE
    assert pair["score"] > 0.2


def test_embed_returns_unit_vectors_whose_product_is_the_score(client: httpx.Client) -> None:
    headers = {"content-type": "image/jpeg"}

    def vector(photo: bytes) -> np.ndarray[Any, np.dtype[np.float64]]:
        (result,) = client.post("/embed", content=photo, headers=headers).json()["results"]
        return np.array(result["embedding"])

    one, two = vector(sample_bytes("s01")), vector(sample_bytes("s01", NIR))
    assert math.isclose(float(np.linalg.norm(one)), 1.0, abs_tol=1e-4)
    assert one.shape == two.shape
    files = {name: ("p.jpg", sample_bytes("s01", file), "image/jpeg") for name, file in VERIFY_FILES.items()}
    score = client.post("/verify", files=files).json()["score"]
    assert score == pytest.approx(float(one @ two), abs=1e-4)


VERIFY_FILES = {"image": NIR, "reference": "vis_1.jpg"}


def test_detect_lists_faces_largest_first_and_may_find_none(client: httpx.Client) -> None:
    headers = {"content-type": "image/jpeg"}
    body = client.post("/detect", content=two_faces(0.7), headers=headers).json()
    areas = [face["box"][2] * face["box"][3] for face in body["results"]]
    assert len(areas) == 2
    assert areas == sorted(areas, reverse=True)
    blank = io.BytesIO()
    Image.new("RGB", (300, 300), "white").save(blank, "JPEG")
    nothing = client.post("/detect", content=blank.getvalue(), headers=headers)
    assert (nothing.status_code, nothing.json()["results"]) == (200, [])


@pytest.mark.parametrize("turn", [0, 90])
def test_detect_tells_the_quality_that_an_enrolment_then_measures(client: httpx.Client, turn: int) -> None:
    with Image.open(io.BytesIO(sample_bytes("s03"))) as photo:
        turned = io.BytesIO()
        photo.rotate(turn, expand=True).save(turned, "PNG")
    seen = client.post("/detect", content=turned.getvalue(), headers={"content-type": "image/png"}).json()
    (face,) = seen["results"]
    enrolled = enroll(client, f"c-quality-{turn}", turned.getvalue()).json()
    assert face["quality"] == enrolled["samples"][0]["quality"]
    assert client.delete(f"/subjects/c-quality-{turn}").status_code == 200


def test_a_masked_reference_is_not_refused_for_its_mask(client: httpx.Client) -> None:
    for name in sorted(path.name for path in SAMPLES.iterdir() if path.is_dir()):
        answer = enroll(client, "c-masked", sample_bytes(name, NIR), spectrum="nir")
        assert answer.status_code == 201, f"{name}: {answer.text}"
    assert client.delete("/subjects/c-masked").status_code == 200


def test_subjects_are_paged_changed_and_erased(client: httpx.Client) -> None:
    names: list[str] = []
    cursor = None
    while True:
        page = client.get("/subjects", params={"limit": "2"} | ({"cursor": cursor} if cursor else {})).json()
        shown = [subject["subject_id"] for subject in page["subjects"]]
        # The order of the pages says nothing about ids; each page is sorted.
        assert shown == sorted(shown)
        names += shown
        if (cursor := page["next_cursor"]) is None:
            break
    assert len(names) == len(set(names))
    assert {"c-s01", "c-s02", "c-s03", "c-s04"} <= set(names)
    body = enroll(client, "c-gone", sample_bytes("s06"), sample_bytes("s06", "vis_2.jpg")).json()
    changed = client.patch("/subjects/c-gone", json={"metadata": {"desk": 7}}).json()
    assert changed["metadata"] == {"desk": 7}
    assert len(changed["samples"]) == 2
    one = client.delete(f"/subjects/c-gone/samples/{body['samples'][0]['sample_id']}").json()
    assert one["erased"] == {"samples": 1, "templates": 1, "crops": 2}
    receipt = client.delete("/subjects/c-gone").json()
    assert receipt["erased"]["templates"] == 1
    assert isinstance(receipt["audit_id"], int)
    problem(client.get("/subjects/c-gone"), 404, "subject_not_found")
    left = identify(client, sample_bytes("s06"), top_k="100").json()["results"][0]["candidates"]
    assert "c-gone" not in {candidate["subject_id"] for candidate in left}


def test_health_and_metrics_report_what_runs(client: httpx.Client) -> None:
    ready = client.get("/health/ready").json()
    assert ready["status"] == "ready"
    assert ready["provider"] == "CPUExecutionProvider"
    assert ready["open_access"] is True
    text = client.get("/metrics").text
    assert "halflight_requests_total{" in text
    assert "halflight_gallery_templates" in text
    assert "c-s01" not in text, "no subject in the metrics"
