"""Tests the built-in bundle: complete, small, calibrated, and sufficient for the demo."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from faces.bundle import read, verify
from faces.types import CONDITIONS, Pair
from service.settings import BUILTIN, CHECKOUT, Settings, builtin_bundle
from tests.conftest import Service, sample_bytes
from tests.service.api.test_errors import enroll, identify, problem

ENROLLED = ("s01", "s02", "s03", "s04", "s05", "s06")


def test_the_built_in_bundle_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HALFLIGHT_BUNDLE_DIR", raising=False)
    assert Settings().bundle_dir == builtin_bundle()


def test_the_images_have_the_built_in_bundle() -> None:
    read_text = {
        name: (CHECKOUT / name).read_text() for name in (".dockerignore", "Dockerfile", "docker-compose.yml")
    }
    assert f"!models/{BUILTIN}\n" in read_text[".dockerignore"]
    assert f"ARG BUNDLE={BUILTIN}\n" in read_text["Dockerfile"]
    assert f"FROM scratch AS bundle-{BUILTIN}\n" in read_text["Dockerfile"]
    assert f"COPY models/{BUILTIN} /opt/halflight/bundles/{BUILTIN}\n" in read_text["Dockerfile"]
    assert f"${{HALFLIGHT_BUNDLE:-{BUILTIN}}}" in read_text["docker-compose.yml"]


def test_every_file_has_the_digest_of_the_manifest_and_is_small() -> None:
    bundle = read(builtin_bundle())
    verify(bundle)
    manifest = bundle.manifest
    assert manifest.detector.file.bytes < 1 << 20
    assert manifest.encoder.probe.bytes < 6_000_000
    assert (
        sum({ref.path: ref.bytes for ref in (manifest.encoder.probe, manifest.encoder.reference)}.values())
        < 16_000_000
    )
    assert manifest.encoder.dimension == 512
    assert set(manifest.licences) == {ref.path for ref in manifest.files}
    assert manifest.calibration is not None
    for condition in CONDITIONS:
        assert manifest.calibration.at(Pair.with_clear_reference(condition), 1e-3).threshold < 1.0


def test_masked_nir_probes_of_enrolled_subjects_are_identified(builtin: Service) -> None:
    with builtin.client() as client:
        for subject in ENROLLED:
            photos = [sample_bytes(subject, f"vis_{i}.jpg") for i in (1, 2)]
            answer = enroll(client, subject, *photos)
            assert answer.status_code == 201, answer.text
        found = 0
        for subject in ENROLLED:
            (result,) = identify(client, sample_bytes(subject, "nir_masked_1.jpg")).json()["results"]
            condition, candidates = result["condition"], result["candidates"]
            assert (condition["spectrum"], condition["masked"]) == ("nir", True)
            found += bool(candidates) and candidates[0]["subject_id"] == subject
    assert found >= len(ENROLLED) - 1


def test_an_image_without_a_face_is_refused_as_no_face(builtin: Service) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    encoded = cv2.imencode(".png", noise)[1].tobytes()
    with builtin.client() as client:
        problem(identify(client, encoded, "image/png"), 422, "no_face")
