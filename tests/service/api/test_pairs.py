"""A gallery of NIR photos under a bundle that is calibrated for visible references: nothing is borrowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from faces.bundle import read
from faces.types import CONDITIONS, Pair
from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_access import make_key
from tests.service.api.test_errors import enroll, identify, problem

CLEAR_PAIRS = {str(Pair.with_clear_reference(probe)) for probe in CONDITIONS}
NIR_1, NIR_2 = "nir_masked_1.jpg", "nir_masked_2.jpg"


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory, bundle_dir: Path) -> Iterator[httpx.Client]:
    """`anna` is enrolled in NIR alone, `bert` in visible light alone, `cleo` in both."""
    assert bundle_dir
    running = Service(tmp_path_factory.mktemp("pairs") / "data").start()
    with running.client() as client:
        assert enroll(client, "anna", sample_bytes("s01", NIR_1), spectrum="nir").status_code == 201
        assert enroll(client, "bert", sample_bytes("s02")).status_code == 201
        for name, light in ((NIR_1, "nir"), ("vis_1.jpg", "vis")):
            assert enroll(client, "cleo", sample_bytes("s03", name), spectrum=light).status_code == 201
        yield client
    running.stop()


def templates(client: httpx.Client) -> int:
    return sum(each["samples"] for each in client.get("/subjects").json()["subjects"])


def candidates(client: httpx.Client, image: bytes, **query: str) -> tuple[dict, dict]:  # type: ignore[type-arg]
    """The result of the one face, and its candidates by subject."""
    (result,) = identify(client, image, **query).json()["results"]
    return result, {each["subject_id"]: each for each in result["candidates"]}


def test_a_nir_reference_is_stored_with_a_warning_that_names_it(gallery: httpx.Client) -> None:
    answer = enroll(gallery, "dora", sample_bytes("s04", NIR_1), sample_bytes("s05", NIR_1), spectrum="nir")
    assert answer.status_code == 201
    body = answer.json()
    assert [each["code"] for each in body["warnings"]] == ["uncalibrated_reference"] * 2
    assert [w["sample_id"] for w in body["warnings"]] == [s["sample_id"] for s in body["samples"]]
    assert enroll(gallery, "emil", sample_bytes("s06")).json()["warnings"] == []


def test_an_uncalibrated_pair_says_so_and_matches_nobody(gallery: httpx.Client) -> None:
    result, found = candidates(gallery, sample_bytes("s01", NIR_2))
    anna = found["anna"]
    assert anna["score"] == max(each["score"] for each in found.values()), "she is the likeliest by far"
    assert (anna["decision"], anna["threshold"], anna["margin"]) == ("uncalibrated", None, None)
    assert anna["pair"].startswith("nir-")
    assert result["decision"] == "uncalibrated"
    assert result["threshold"] is None
    calibration = result["calibration"]
    assert (calibration["pair"], calibration["calibrated"]) == (anna["pair"], False)
    assert calibration["fmr_upper"] is calibration["method"] is None
    # The others are judged by the pair of their own reference.
    assert found["bert"]["decision"] == "unknown"
    assert found["bert"]["pair"] in CLEAR_PAIRS
    assert found["bert"]["margin"] == pytest.approx(
        found["bert"]["score"] - found["bert"]["threshold"], abs=2e-6
    )


def test_a_threshold_of_ones_own_decides_an_uncalibrated_pair(gallery: httpx.Client) -> None:
    result, found = candidates(gallery, sample_bytes("s01", NIR_2), threshold="0.2")
    assert found["anna"]["decision"] == result["decision"] == "match"
    assert result["calibration"]["calibrated"] is False
    assert (result["target_fmr"], result["search"]["fpir"]) == (None, None)


def test_a_subject_with_several_references_is_judged_by_the_one_that_is_calibrated(
    gallery: httpx.Client,
) -> None:
    """Of `cleo`'s two references the NIR one scores higher, but only the visible one can be judged."""
    _, found = candidates(gallery, sample_bytes("s03", NIR_2))
    if found["cleo"]["decision"] == "match":
        assert found["cleo"]["pair"] in CLEAR_PAIRS
    files = {"image": ("p.jpg", sample_bytes("s03", "vis_2.jpg"), "image/jpeg")}
    verified = gallery.post("/verify", files=files, data={"subject_id": "cleo"}).json()
    assert verified["decision"] == "match"
    assert verified["calibration"]["pair"] == "vis-unmasked/vis-unmasked"


def test_verification_says_uncalibrated_by_subject_and_by_image(gallery: httpx.Client) -> None:
    files = {"image": ("p.jpg", sample_bytes("s01", NIR_2), "image/jpeg")}
    by_subject = gallery.post("/verify", files=files, data={"subject_id": "anna"}).json()
    reference = {"reference": ("r.jpg", sample_bytes("s01", NIR_1), "image/jpeg")}
    by_image = gallery.post("/verify", files=files | reference).json()
    for answer in (by_subject, by_image):
        assert (answer["decision"], answer["threshold"], answer["target_fmr"]) == ("uncalibrated", None, None)
        assert answer["calibration"]["calibrated"] is False
    sure = gallery.post("/verify", params={"threshold": "0.2"}, files=files, data={"subject_id": "anna"})
    assert sure.json()["decision"] == "match"


def test_answers_name_their_calibration(gallery: httpx.Client, bundle_dir: Path) -> None:
    table = read(bundle_dir).manifest.calibration
    assert table is not None
    result, _ = candidates(gallery, sample_bytes("s02"))
    pair = Pair.with_clear_reference(CONDITIONS[0])
    point = table.at(pair, table.default_fmr)
    assert result["decision"] == "match"
    assert result["calibration"] == {
        "id": table.id,
        "pair": str(pair),
        "calibrated": True,
        "fmr_upper": point.fmr_upper,
        "method": "observed",
        "set_by": "everybody",
        "version": None,
        "camera": None,
    }
    assert result["target_fmr"] == table.default_fmr
    count = templates(gallery)
    assert result["search"]["comparisons"] == count >= 4
    assert result["search"]["fpir"] == pytest.approx(1 - (1 - table.default_fmr) ** count)


def test_a_colour_photo_sent_as_nir_is_refused_by_name(gallery: httpx.Client) -> None:
    problem(enroll(gallery, "fritz", sample_bytes("s07"), spectrum="nir"), 422, "wrong_spectrum")
    assert gallery.get("/subjects/fritz").status_code == 404
    problem(identify(gallery, sample_bytes("s07"), spectrum="nir"), 422, "wrong_spectrum")
    assert identify(gallery, sample_bytes("s07", NIR_1), spectrum="nir").status_code == 200


def test_an_fpir_chooses_the_point_for_the_size_of_the_gallery(gallery: httpx.Client) -> None:
    count = templates(gallery)
    loose, _ = candidates(gallery, sample_bytes("s02"), fpir=str(1.01e-2 * count))
    strict, _ = candidates(gallery, sample_bytes("s02"), fpir=str(9e-3 * count))
    assert loose["target_fmr"] == 1e-2
    assert strict["target_fmr"] == 1e-3
    assert strict["threshold"] > loose["threshold"]
    refused = problem(identify(gallery, sample_bytes("s02"), fpir="1e-9"), 422, "unsupported_fmr")
    assert (
        f"over {templates(gallery)} templates needs FMR {1e-9 / templates(gallery):.2g}" in refused["detail"]
    )
    problem(identify(gallery, sample_bytes("s02"), fpir="0.1", fmr="1e-3"), 422, "invalid_parameter")


def test_a_probe_key_cannot_force_an_uncalibrated_pair(start_service: StartService, tmp_path: Path) -> None:
    data = tmp_path / "doors"
    data.mkdir()
    keys = {role: make_key(data, role) for role in ("probe", "operator")}
    service = start_service(data=data)
    with service.client(keys["operator"]) as operator, service.client(keys["probe"]) as door:
        assert enroll(operator, "anna", sample_bytes("s01", NIR_1), spectrum="nir").status_code == 201
        _, seen = candidates(operator, sample_bytes("s01", NIR_2), threshold="0.6")
        assert seen["anna"]["decision"] in ("match", "unknown")
        _, seen = candidates(door, sample_bytes("s01", NIR_2), threshold="0.6")
        assert seen["anna"]["decision"] == "uncalibrated"
