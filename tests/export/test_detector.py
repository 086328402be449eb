"""An exported detector in a bundle: batched by the service, telling masks without a second network."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from export.detection import with_detector
from export.detector import INPUT, MOST_BYTES, SECOND_LOOK, export_detector, write_facts
from export.graph import ExportError
from faces.bundle import BundleError, DetectedMask, MaskSpec, parse_manifest, read
from faces.types import Image, Role, Spectrum
from service.settings import builtin_bundle
from tests.service.inference.faces import load, pixels
from tests.training.detector.parts import TINY
from training.detector.network import OUTPUTS, DetectorNet, NetworkConfig
from training.networks.onnx_runner import BundleRunner, session


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights that see a face in nearly every picture."""
    torch.manual_seed(0)
    net = DetectorNet(TINY)
    with torch.no_grad():
        for name, value in net.head.named_parameters():
            if name == "values.bias":
                value[0] = 0.0
            elif name == "values.weight":
                value.normal_(std=0.05)
    path = tmp_path_factory.mktemp("detector") / "detector.onnx"
    assert export_detector(net, path) < 1e-4
    write_facts(path, score_threshold=0.5, nms_iou=0.4, mask_threshold=0.5)
    return path


def test_facts_carry_the_second_look_into_a_bundle(bundle_dir: Path, network: Path, tmp_path: Path) -> None:
    facts = write_facts(
        network, score_threshold=0.5, nms_iou=0.4, mask_threshold=0.5, second_look=SECOND_LOOK
    )
    assert facts.detector.second_look == SECOND_LOOK
    assert read(builtin_bundle()).manifest.detector.second_look == SECOND_LOOK
    manifest = with_detector(
        read(bundle_dir), network.with_suffix(".json"), tmp_path / "own", licence="a test"
    ).manifest
    assert manifest.detector.second_look == SECOND_LOOK
    write_facts(network, score_threshold=0.5, nms_iou=0.4, mask_threshold=0.5)


def test_all_three_sizes_are_dynamic(network: Path) -> None:
    running = session(network, threads=1)
    for batch, height, width in ((1, 64, 64), (3, 96, 128)):
        made = running.run(list(OUTPUTS), {INPUT: np.zeros((batch, 3, height, width), np.float32)})
        assert made[0].shape == (batch, 16, height // 8, width // 8)
    assert network.stat().st_size < MOST_BYTES


def test_a_network_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="too many"):
        export_detector(DetectorNet(NetworkConfig(deep=96)), tmp_path / "large.onnx")
    assert not any(tmp_path.iterdir())


def test_the_service_batches_the_detector_and_uses_its_mask_state(
    bundle_dir: Path, network: Path, tmp_path: Path
) -> None:
    facts = network.with_suffix(".json")
    manifest = with_detector(read(bundle_dir), facts, tmp_path / "own", licence="a test").manifest
    assert manifest.space_id == read(bundle_dir).manifest.space_id
    assert [ref.path for ref in manifest.detection_files] == ["detector.onnx"]
    engine = load(tmp_path / "own")
    images = [Image(pixels(name), Spectrum.VIS) for name in ("s01", "s02", "s03")]
    canvases = [engine.detector.prepare(image) for image in images]
    together = [found.faces for found in engine.detector.run(canvases)]
    for canvas, image, faces in zip(canvases, images, together, strict=True):
        alone = engine.detector.run([canvas])[0].faces
        assert faces
        assert [face.masked for face in faces] == pytest.approx([face.masked for face in alone], abs=1e-4)
        assert BundleRunner(read(tmp_path / "own")).masked(image, faces[0]) == faces[0].masked
    assert len(engine.batchers) == 2

    async def described() -> None:
        engine.start()
        face = next(face for face in together[0] if face.inter_eye_px >= 4)
        seen = await engine.describe(images[0], face, Role.PROBE)
        assert seen.mask.probability == face.masked
        assert seen.condition.masked == ((face.masked or 0) >= 0.5)
        await engine.close()

    asyncio.run(described())


def test_a_detector_that_does_not_tell_masks_needs_a_classifier(bundle_dir: Path) -> None:
    manifest = read(bundle_dir).manifest
    assert isinstance(manifest.mask, MaskSpec)
    told = DetectedMask(decoder="detector", threshold=0.5)
    text = manifest.model_copy(update={"mask": told}).model_dump_json()
    with pytest.raises(BundleError, match="classifier"):
        parse_manifest(text)


def test_the_reference_bundles_detector_and_mask_are_read_unchanged(bundle_dir: Path) -> None:
    written = json.loads((bundle_dir / "manifest.json").read_text())
    read_back = read(bundle_dir).manifest.model_dump(mode="json")
    for part in ("detector", "mask"):
        told = {key: value for key, value in read_back[part].items() if key in written[part]}
        assert told == written[part]
        # What the bundle does not say stays unsaid.
        assert all(read_back[part][key] is None for key in read_back[part].keys() - written[part].keys())
