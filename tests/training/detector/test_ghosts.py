"""What the built-in bundle's second looks and verifier do to real pictures: ghosts go, faces stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from faces.bundle import read
from faces.types import Image, Spectrum
from service.settings import builtin_bundle
from tests.service.inference.faces import pixels
from training.detector.collect import open_shrunk
from training.networks.onnx_runner import DetectorRunner

# Training scenes without faces, in which one look takes something for a face.
GHOSTS = ("0012_rgb.jpg", "0018_rgb.jpg", "0038_rgb.jpg", "0046_nir.jpg", "0070_rgb.jpg")
# Training photos of one masked face each, which one look scores from .4 to .5.
HARD_FACES = ("0097.jpg", "0103.jpg", "0116.jpg", "0137.jpg", "0348.jpg")


def runners() -> tuple[DetectorRunner, DetectorRunner]:
    """The built-in detector with one look, and as the bundle uses it."""
    bundle = read(builtin_bundle())
    spec = bundle.manifest.detector
    assert spec.verifier is not None
    plain = spec.model_copy(update={"second_look": None, "verifier": None})
    path = bundle.path(spec.file)
    return DetectorRunner(path, plain), DetectorRunner(path, spec)


@pytest.mark.realdata
def test_things_that_one_look_takes_for_faces_are_none(shared: Path) -> None:
    plain, judging = runners()
    for name in GHOSTS:
        scene = open_shrunk(shared / "data" / "rgb_nir_scenes" / name, largest_px=2048)
        assert len(plain.look(scene)) == 1, name
        assert judging.look(scene) == (), name


@pytest.mark.realdata
def test_a_hard_face_that_one_look_misses_is_found_where_nobody_else_is(shared: Path) -> None:
    plain, judging = runners()
    for name in HARD_FACES:
        photo = open_shrunk(shared / "data" / "masked_photos" / name, largest_px=2048)
        assert plain.look(photo) == (), name
        (face,) = judging.look(photo)
        assert face.score < 0.75, name


def test_a_clear_face_is_the_same_with_and_without_a_verdict() -> None:
    plain, judging = runners()
    for name in ("s01", "s02", "s03"):
        image = Image(pixels(name), Spectrum.VIS)
        assert judging.look(image) == plain.look(image) != ()
