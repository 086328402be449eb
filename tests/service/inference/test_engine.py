"""Tests the real networks: batches equal single passes, and every template belongs to its space."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from faces.align import align
from faces.bundle import Manifest, MaskSpec, read, write_manifest
from faces.preprocess import encoder_input, mask_input
from faces.types import Image, Role, Spectrum
from service.inference.encoder import EncoderError, MaskClassifier
from service.inference.engine import Engine
from service.inference.session import ProviderError
from tests.service.inference.faces import OPTIONS, Seen, load, pixels, samples

CROP_TOLERANCE, PIXEL_TOLERANCE = 1e-4, 0.02
# Of a network's weights, to make another network of it.


@pytest.fixture(scope="module")
def engine(bundle_dir: Path) -> Engine:
    return load(bundle_dir)


@pytest.fixture(scope="module")
def seen(engine: Engine) -> list[Seen]:
    return samples(engine)


def rebuilt(bundle_dir: Path, root: Path, manifest: Manifest) -> Path:
    """Copies the bundle with another manifest."""
    shutil.copytree(bundle_dir, root)
    write_manifest(manifest, root)
    return root


@pytest.mark.parametrize("role", Role)
def test_a_batch_of_faces_is_embedded_like_each_alone(engine: Engine, seen: list[Seen], role: Role) -> None:
    spec = engine.manifest.encoder
    items = [(role, encoder_input(align(s.image, s.face, spec.alignment), spec)) for s in seen]
    together, alone = engine.encoder.run(items), [engine.encoder.run([item])[0] for item in items]
    assert len(together) == len(items)
    np.testing.assert_allclose(together, alone, atol=CROP_TOLERANCE)
    other = engine.encoder.run(items[::-1])[::-1]
    np.testing.assert_allclose(together, other, atol=CROP_TOLERANCE)
    between = np.stack(together) @ np.stack(together).T
    assert between[~np.eye(len(items), dtype=bool)].max() < 1 - 1e-3, "the faces are not told apart"


def test_a_batch_of_faces_is_classified_like_each_alone(engine: Engine, seen: list[Seen]) -> None:
    spec = engine.manifest.mask
    assert isinstance(spec, MaskSpec)
    assert isinstance(engine.mask, MaskClassifier)
    items = [mask_input(s.image, s.face.box, spec) for s in seen]
    together = engine.mask.run(items)
    np.testing.assert_allclose(together, [engine.mask.run([item])[0] for item in items], atol=CROP_TOLERANCE)
    masked = [s.image.spectrum is Spectrum.NIR for s in seen]
    assert [probability >= spec.threshold for probability in together] == masked


def test_a_batch_of_images_is_searched_like_each_alone(engine: Engine, seen: list[Seen]) -> None:
    blank = Image(np.full((320, 320, 3), 90, np.uint8), Spectrum.VIS)
    canvases = [engine.detector.prepare(image) for image in (blank, *(s.image for s in seen), blank)]
    together = engine.detector.run(canvases)
    alone = [engine.detector.run([canvas])[0] for canvas in canvases]
    assert [len(faces) for faces in together] == [len(faces) for faces in alone]
    assert together[0] == together[-1] == ()
    for one, other in zip(chain(*together), chain(*alone), strict=True):
        assert abs(one.score - other.score) < CROP_TOLERANCE
        np.testing.assert_allclose(one.landmarks, other.landmarks, atol=PIXEL_TOLERANCE)
    largest = [faces[0] for faces in together[1:-1]]
    for face, s in zip(largest, seen, strict=True):
        np.testing.assert_allclose(face.landmarks, s.face.landmarks, atol=PIXEL_TOLERANCE)


async def test_faces_described_together_each_keep_their_own_template(bundle_dir: Path) -> None:
    engine = load(bundle_dir)
    engine.start()
    faces = samples(engine)
    roles = [Role.PROBE, Role.REFERENCE] * 4
    found = await asyncio.gather(*(engine.detector.detect(s.image) for s in faces))
    assert all(found)
    together = await asyncio.gather(
        *(engine.describe(s.image, s.face, role) for s, role in zip(faces, roles, strict=True))
    )
    for s, role, one in zip(faces, roles, together, strict=True):
        alone = await engine.describe(s.image, s.face, role)
        vector = one.embedding.vector
        assert vector.shape == (engine.manifest.encoder.dimension,)
        assert vector.dtype == np.float32
        assert abs(float(np.linalg.norm(vector.astype(np.float64))) - 1) < 1e-6
        assert (one.embedding.space_id, one.embedding.role) == (engine.manifest.space_id, role)
        assert one.embedding.score(alone.embedding) > 1 - 1e-5
        assert one.condition.spectrum is s.image.spectrum
        assert one.condition.masked == (s.image.spectrum is Spectrum.NIR)
        assert one.crop.inter_eye_px == one.quality.inter_eye_px == s.face.inter_eye_px
    await engine.close()


def other_weights(network: bytes) -> bytes:
    """Copies a network and sets the middle of its longest run of plain float32 weights to zero."""
    best = (0, 0, 0)
    for shift in range(4):
        values = np.abs(np.frombuffer(network[shift : shift + (len(network) - shift) // 4 * 4], "<f4"))
        odd = np.flatnonzero(~((values > 1e-9) & (values < 10)))
        gaps = np.diff(odd)
        best = max(best, (int(gaps.max()), int(odd[gaps.argmax()]) + 1, shift))
    length, first, shift = best
    start, size = shift + 4 * (first + length // 4), 4 * (length // 2)
    return network[:start] + bytes(size) + network[start + size :]


async def test_of_two_encoders_each_embeds_its_own_role_even_at_once(
    bundle_dir: Path, tmp_path: Path, engine: Engine, seen: list[Seen]
) -> None:
    spec = engine.manifest.encoder
    other = spec.reference.model_copy(update={"path": "reference.onnx"})
    encoder = spec.model_copy(update={"reference": other})
    root = rebuilt(bundle_dir, tmp_path / "two", engine.manifest.model_copy(update={"encoder": encoder}))
    weights = other_weights((root / spec.probe.path).read_bytes())
    (root / other.path).write_bytes(weights)
    two = load(root)
    assert two.manifest.space_id == engine.manifest.space_id, "the digests, not the names, make a space"
    two.start()
    crops = [align(s.image, s.face, spec.alignment) for s in seen]
    templates = await asyncio.gather(*(two.encoder.embed(crop, role) for crop in crops for role in Role))
    await two.close()
    assert [t.role for t in templates] == list(Role) * len(crops)
    for crop, probe, reference in zip(crops, templates[::2], templates[1::2], strict=True):
        tensor = encoder_input(crop, spec)
        for template, role in ((probe, Role.PROBE), (reference, Role.REFERENCE)):
            (expected,) = two.encoder.run([(role, tensor)])
            np.testing.assert_allclose(template.vector, expected, atol=CROP_TOLERANCE)
        assert np.abs(probe.vector - reference.vector).max() > 100 * CROP_TOLERANCE


def test_a_network_with_another_dimension_than_the_manifest_is_refused(
    bundle_dir: Path, tmp_path: Path, engine: Engine
) -> None:
    wrong = engine.manifest.encoder.model_copy(update={"dimension": 128})
    root = rebuilt(bundle_dir, tmp_path / "128", engine.manifest.model_copy(update={"encoder": wrong}))
    with pytest.raises(EncoderError, match=r"expected \[1, 128\], got \(1, 256\)"):
        load(root)


def test_an_engine_names_its_provider_and_refuses_one_that_cannot_load(
    bundle_dir: Path, engine: Engine
) -> None:
    assert engine.provider == OPTIONS.providers[0]
    asked = replace(OPTIONS, providers=("CUDAsExecutionProvider",))
    with pytest.raises(ProviderError, match="CUDAsExecutionProvider"):
        Engine.load(read(bundle_dir), asked)
    fallen = Engine.load(read(bundle_dir), replace(asked, allow_fallback=True))
    assert fallen.provider == "CPUExecutionProvider"


def test_a_larger_image_uses_a_larger_canvas_and_gives_the_same_face(engine: Engine) -> None:
    small = pixels("s01")
    large = np.pad(small, ((0, 200), (0, 120), (0, 0)))
    one, two = (engine.detector.prepare(Image(picture, Spectrum.VIS)) for picture in (small, large))
    assert (one.placement.canvas_px, two.placement.canvas_px) == engine.manifest.detector.canvas_px
    (first,), (second,) = engine.detector.run([one])[0], engine.detector.run([two])[0]
    np.testing.assert_allclose(second.landmarks, first.landmarks, atol=2)
