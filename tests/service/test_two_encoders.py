"""Serves bundles of two encoders that are routed by condition, over HTTP."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from faces.bundle import file_ref, read, write_manifest
from service.settings import CHECKOUT, builtin_bundle
from tests.conftest import Service, sample_bytes
from tests.export.test_bundle import call
from tests.service.api.test_errors import enroll, identify
from training.networks.checkpoint import load_network, save_encoder

PEOPLE = ("s01", "s02", "s03", "s04", "s05")


def pair(root: Path, *, negated: bool, uncertain: bool) -> Path:
    """The built-in bundle with an encoder of its own for probes: the same, or one of opposite templates."""
    shutil.copytree(builtin_bundle(), root)
    manifest = read(root).manifest
    encoder = manifest.encoder
    model = onnx.load(root / encoder.reference.path)
    model.producer_name = "another file"
    if negated:
        name = model.graph.output[0].name
        for node in model.graph.node:
            node.output[:] = ["positive" if one == name else one for one in node.output]
        model.graph.node.append(helper.make_node("Neg", ["positive"], [name]))
    onnx.save(model, root / "probe.onnx")
    changed = {
        "encoder": encoder.model_copy(
            update={"probe": file_ref(root / "probe.onnx"), "routing": "condition"}
        ),
        "mask": manifest.mask.model_copy(update={"uncertain": (0.0, 1.0) if uncertain else None}),
        "parity": None,
    }
    write_manifest(manifest.model_copy(update=changed), root)
    return root


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Path], Service]]:
    started: list[Service] = []

    def start(bundle: Path) -> Service:
        started.append(Service(tmp_path / "data", {"HALFLIGHT_BUNDLE_DIR": str(bundle)}))
        return started[-1].start()

    yield start
    for one in started:
        one.stop()


def best(service: Service, name: str) -> list[tuple[str, float, str]]:
    """Each subject's first candidate, its score, and the decision, for one kind of photo."""
    with service.client() as client:
        found = []
        for person in PEOPLE:
            answer = identify(client, sample_bytes(person, name))
            assert answer.status_code == 200, answer.text
            (result,) = answer.json()["results"]
            first = result["candidates"][0]
            found.append((first["subject_id"], first["score"], result["decision"]))
        return found


def enrol_everybody(service: Service) -> None:
    with service.client() as client:
        for person in PEOPLE:
            answer = enroll(client, person, sample_bytes(person, "vis_1.jpg"))
            assert answer.status_code == 201, answer.text


def test_people_are_identified_in_every_condition(serve: Callable[[Path], Service], tmp_path: Path) -> None:
    service = serve(pair(tmp_path / "pair", negated=False, uncertain=False))
    enrol_everybody(service)
    for name in ("vis_2.jpg", "nir_masked_1.jpg"):
        right = [first == person for person, (first, *_) in zip(PEOPLE, best(service, name), strict=True)]
        assert sum(right) >= len(PEOPLE) - 1


@pytest.mark.slow
def test_a_pair_that_was_exported_and_fused_identifies_people(
    serve: Callable[[Path], Service], tmp_path: Path
) -> None:
    weights = CHECKOUT / "models" / "halflight-1-embedder" / "encoder.pt"
    net, config = load_network(weights)
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            noise = torch.randn(parameter.shape, generator=chance)
            parameter.add_(noise * parameter.abs().mean(), alpha=0.01)
    save_encoder(tmp_path / "reference.pt", net, config)
    out = tmp_path / "fused"
    words = (weights, "--reference", tmp_path / "reference.pt", "--fuse", weights, "--dimension", 1024)
    call(*words, "--variant", "fp16-weights", "--base", builtin_bundle(), "--out", out)
    manifest = read(out).manifest
    assert (manifest.encoder.routing, manifest.encoder.dimension) == ("condition", 1024)
    assert manifest.encoder.probe.sha256 != manifest.encoder.reference.sha256
    thresholds = read(builtin_bundle()).manifest.calibration
    assert thresholds is not None
    # The cohort is of the built-in bundle's space, and says nothing about templates of this one.
    cosines = thresholds.model_copy(update={"cohort": None})
    write_manifest(manifest.model_copy(update={"calibration": cosines}), out)
    service = serve(out)
    enrol_everybody(service)
    for name in ("vis_2.jpg", "nir_masked_1.jpg"):
        right = [first == person for person, (first, *_) in zip(PEOPLE, best(service, name), strict=True)]
        assert sum(right) >= len(PEOPLE) - 1


def test_an_uncertain_visible_probe_has_the_better_score_of_both_encoders_and_nir_one_alone(
    serve: Callable[[Path], Service], tmp_path: Path
) -> None:
    service = serve(pair(tmp_path / "pair", negated=True, uncertain=True))
    enrol_everybody(service)
    seen = best(service, "vis_2.jpg")
    assert sum(first == person for person, (first, *_) in zip(PEOPLE, seen, strict=True)) >= len(PEOPLE) - 1
    dark = best(service, "nir_masked_1.jpg")
    assert {decision for *_, decision in dark} == {"unknown"}
    assert np.mean([score for _, score, _ in dark]) < np.mean([score for _, score, _ in seen]) - 0.2
    with service.client() as client:
        image = ("p.jpg", sample_bytes("s01", "vis_2.jpg"), "image/jpeg")
        reference = ("r.jpg", sample_bytes("s01", "vis_1.jpg"), "image/jpeg")
        asked = client.post("/verify", data={"subject_id": "s01"}, files={"image": image})
        enrolled = asked.json()["score"]
        pictured = client.post("/verify", files={"image": image, "reference": reference}).json()["score"]
    assert enrolled == pytest.approx(seen[0][1], abs=1e-3) == pytest.approx(pictured, abs=1e-3)
