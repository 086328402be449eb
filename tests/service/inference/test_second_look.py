"""The service looks again at doubtful detections, as training's runner does, and counts what it loses."""

from __future__ import annotations

import numpy as np
import pytest

from export.detector import SECOND_LOOK
from faces.bundle import Bundle, LookWindow, SecondLook, read
from faces.types import Image, Spectrum
from service.inference.detector import Detected, Detector
from service.inference.session import OnnxSession
from service.inference.tensorrt import Shapes
from service.settings import builtin_bundle
from tests.service.inference.faces import pixels
from training.networks.onnx_runner import DetectorRunner

# All scores are doubtful here, so that a clear photo shows what a second look does.
EVERY = SecondLook(least=0.4, below=1.0, windows=(LookWindow(times=4.5), LookWindow(times=6, mirrored=True)))
FAR = SecondLook(least=0.4, below=1.0, windows=(LookWindow(times=16),))


class Passes:
    """Counts the rows of forward passes."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, batch: int) -> None:
        self.rows += batch


def made(bundle: Bundle, second: SecondLook | None, passes: Passes | None = None) -> Detector:
    spec = bundle.manifest.detector.model_copy(update={"second_look": second, "verifier": None})
    least, most = spec.canvas_px[0], spec.canvas_px[-1]
    session = OnnxSession(
        bundle.path(spec.file),
        providers=("CPUExecutionProvider",),
        allow_fallback=False,
        intra_op_threads=1,
        shapes=Shapes(smallest_px=(least, least), largest_px=(most, most), max_batch=8),
    )
    return Detector(spec, session, max_batch=8, max_queue=64, observe=passes)


def runner(bundle: Bundle, second: SecondLook | None) -> DetectorRunner:
    spec = bundle.manifest.detector.model_copy(update={"second_look": second, "verifier": None})
    return DetectorRunner(bundle.path(spec.file), spec)


async def detect(detector: Detector, image: Image, *, min_score: float | None = None) -> Detected:
    detector.batcher.start()
    try:
        return await detector.detect(image, min_score=min_score, looks=(1.0,))
    finally:
        await detector.batcher.close()


@pytest.fixture
def image() -> Image:
    return Image(pixels("s01"), Spectrum.VIS)


async def test_the_service_and_training_give_a_doubtful_face_one_score(image: Image) -> None:
    bundle, passes = read(builtin_bundle()), Passes()
    (face,) = (await detect(made(bundle, EVERY, passes), image)).faces
    (other,) = runner(bundle, EVERY).look(image)
    (first,) = runner(bundle, None).look(image)
    assert passes.rows == 3
    assert face.score == pytest.approx(other.score, abs=1e-4)
    assert face.probability == pytest.approx(other.probability, abs=1e-4)
    assert abs(face.score - first.score) > 1e-3
    np.testing.assert_allclose(face.landmarks, first.landmarks, atol=0.1)


async def test_a_clear_face_and_an_empty_picture_take_one_pass(image: Image) -> None:
    bundle = read(builtin_bundle())
    for shown, faces in ((image, 1), (Image(np.full((320, 320, 3), 90, np.uint8), Spectrum.VIS), 0)):
        passes = Passes()
        found = await detect(made(bundle, SECOND_LOOK, passes), shown)
        assert (len(found.faces), passes.rows) == (faces, 1)


async def test_what_a_second_look_lowers_below_the_score_asked_for_is_counted(image: Image) -> None:
    bundle = read(builtin_bundle())
    (before,), (after,) = (runner(bundle, second).look(image) for second in (None, FAR))
    assert after.score < before.score - 0.02
    between = (before.score + after.score) / 2
    kept = await detect(made(bundle, None), image, min_score=between)
    lost = await detect(made(bundle, FAR), image, min_score=between)
    assert (len(kept.faces), kept.below) == (1, 0)
    assert (len(lost.faces), lost.below) == (0, 1)
