"""The service judges doubtful detections as training's runner does, many pictures in one pass."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from export.detector import SECOND_LOOK
from export.verifier import FILE, export_verifier, specify, with_verifier
from faces.bundle import Bundle, BundleError, VerdictRule, read, verify, write_manifest
from faces.types import Image, Spectrum
from service.inference.batcher import BatcherClosed
from service.inference.detector import Detected, Detector
from service.inference.session import OnnxSession
from service.inference.tensorrt import Shapes
from service.inference.verifier import FaceVerifier
from service.settings import builtin_bundle
from tests.service.inference.faces import load, pixels
from training.detector.verifier import VerifierConfig, VerifierNet
from training.networks.onnx_runner import DetectorRunner

SMALL = VerifierConfig(input_px=32, times=2.0, stem=4, quarter=4, eighth=8, deep=8)
# Every score is doubtful here, so that a clear photo shows what a verdict does.
KIND = VerdictRule(least=0.4, below=1.0, offset=0.0, score=1.0, verdict=0.5, data="made up")
# No face passes: its offset is out of reach of any verdict.
STERN = KIND.model_copy(update={"offset": -20.0})


def judging(folder: Path, rule: VerdictRule, *, looks: bool = False) -> Bundle:
    """The built-in bundle with a random verifier and, with `looks`, a second look."""
    shutil.copytree(builtin_bundle(), folder)
    torch.manual_seed(0)
    net = VerifierNet(SMALL).eval()
    with torch.no_grad():
        net.value.weight.normal_(std=0.2)
    export_verifier(net, SMALL, folder / FILE)
    manifest = read(folder).manifest
    look = SECOND_LOOK.model_copy(update={"least": rule.least, "below": rule.below}) if looks else None
    plain = manifest.detector.model_copy(update={"second_look": look, "verifier": None})
    detector = with_verifier(plain, specify(folder / FILE, SMALL, rule))
    licences = {**manifest.licences, FILE: "made for a test"}
    write_manifest(manifest.model_copy(update={"detector": detector, "licences": licences}), folder)
    return read(folder)


def session(bundle: Bundle, file: str, side: int) -> OnnxSession:
    shapes = Shapes(smallest_px=(side, side), largest_px=(side, side), max_batch=8)
    return OnnxSession(
        bundle.root / file, providers=("CPUExecutionProvider",), intra_op_threads=1, shapes=shapes
    )


def made(bundle: Bundle) -> Detector:
    verifier = FaceVerifier(session(bundle, FILE, 32), max_batch=8, max_queue=64)
    spec = bundle.manifest.detector
    network = session(bundle, spec.file.path, 320)
    return Detector(spec, network, max_batch=8, max_queue=64, verifier=verifier)


async def detect(detector: Detector, image: Image) -> Detected:
    assert detector.verifier is not None
    detector.batcher.start()
    detector.verifier.batcher.start()
    try:
        return await detector.detect(image, looks=(1.0,))
    finally:
        await detector.batcher.close()
        await detector.verifier.batcher.close()


@pytest.fixture
def image() -> Image:
    return Image(pixels("s01"), Spectrum.VIS)


@pytest.mark.parametrize("looks", [False, True])
async def test_the_service_and_training_give_a_face_one_score(
    image: Image, tmp_path: Path, *, looks: bool
) -> None:
    bundle = judging(tmp_path / "own", KIND, looks=looks)
    verify(bundle)
    assert [ref.path for ref in bundle.manifest.detection_files] == ["detector.onnx", FILE]
    assert FILE in {ref.path for ref in bundle.manifest.files}
    spec = bundle.manifest.detector
    (face,) = (await detect(made(bundle), image)).faces
    (other,) = DetectorRunner(bundle.path(spec.file), spec).look(image)
    plain = spec.model_copy(update={"verifier": None, "second_look": None})
    (first,) = DetectorRunner(bundle.path(spec.file), plain).look(image)
    assert face.score == pytest.approx(other.score, abs=1e-4)
    assert face.probability == pytest.approx(other.probability, abs=1e-4)
    assert abs(face.score - first.score) > 1e-3
    np.testing.assert_allclose(face.landmarks, first.landmarks, atol=0.1)
    assert face.masked == pytest.approx(first.masked, abs=1e-4)


async def test_what_a_verdict_lowers_below_the_threshold_is_counted(image: Image, tmp_path: Path) -> None:
    bundle = judging(tmp_path / "own", STERN)
    found = await detect(made(bundle), image)
    assert (len(found.faces), found.below) == (0, 1)


async def test_a_picture_without_doubt_needs_no_verdict(tmp_path: Path) -> None:
    detector = made(judging(tmp_path / "own", KIND))
    assert detector.verifier is not None
    detector.batcher.start()
    # The verifier's queue takes nothing before it is started.
    found = await detector.detect(Image(np.full((320, 320, 3), 90, np.uint8), Spectrum.VIS), looks=(1.0,))
    with pytest.raises(BatcherClosed):
        await detector.detect(Image(pixels("s01"), Spectrum.VIS), looks=(1.0,))
    await detector.batcher.close()
    assert found.faces == ()


def test_crops_of_several_pictures_get_their_own_verdicts(tmp_path: Path) -> None:
    bundle = judging(tmp_path / "own", KIND)
    verifier = FaceVerifier(session(bundle, FILE, 32), max_batch=4, max_queue=64)
    rng = np.random.default_rng(0)
    items = [rng.uniform(-1, 1, (count, 3, 32, 32)).astype(np.float32) for count in (1, 5, 3)]
    together = verifier.run(items)
    assert [len(one) for one in together] == [1, 5, 3]
    for one, item in zip(together, items, strict=True):
        (alone,) = verifier.run([item])
        np.testing.assert_allclose(one, alone, atol=1e-5)


def test_an_engine_starts_the_verifier_and_a_detector_needs_the_one_it_names(tmp_path: Path) -> None:
    bundle = judging(tmp_path / "own", KIND)
    engine = load(tmp_path / "own")
    assert "verify" in {batcher.name for batcher in engine.batchers}
    spec = bundle.manifest.detector
    network = session(bundle, spec.file.path, 320)
    with pytest.raises(ValueError, match="exactly if"):
        Detector(spec, network, max_batch=8, max_queue=64)


def test_a_bundle_whose_verifier_is_missing_or_changed_is_refused(tmp_path: Path) -> None:
    bundle = judging(tmp_path / "own", KIND)
    path = bundle.root / FILE
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BundleError, match="does not match its digest"):
        verify(bundle)
    path.unlink()
    with pytest.raises(BundleError, match="is missing"):
        verify(bundle)
