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
from faces.bundle import Manifest, MaskSpec, Routing, file_ref, read, write_manifest
from faces.masks import MaskReading, MaskState
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
    together = [found.faces for found in engine.detector.run(canvases)]
    alone = [engine.detector.run([canvas])[0].faces for canvas in canvases]
    assert [len(faces) for faces in together] == [len(faces) for faces in alone]
    assert together[0] == together[-1] == ()
    for one, other in zip(chain(*together), chain(*alone), strict=True):
        assert abs(one.score - other.score) < CROP_TOLERANCE
        np.testing.assert_allclose(one.landmarks, other.landmarks, atol=PIXEL_TOLERANCE)
    largest = [faces[0] for faces in together[1:-1]]
    for face, s in zip(largest, seen, strict=True):
        np.testing.assert_allclose(face.landmarks, s.face.landmarks, atol=PIXEL_TOLERANCE)


def test_a_face_whose_eyes_nearly_meet_has_no_quality(engine: Engine, seen: list[Seen]) -> None:
    (ax, ay), _, nose, left, right = seen[0].face.landmarks
    narrow = replace(seen[0].face, landmarks=((ax, ay), (ax + 3.9, ay), nose, left, right))
    assert engine.assess(seen[0].image, narrow) is None
    quality = engine.assess(seen[0].image, seen[0].face)
    assert quality is not None
    assert quality.inter_eye_px == seen[0].face.inter_eye_px


async def test_faces_described_together_each_keep_their_own_template(bundle_dir: Path) -> None:
    engine = load(bundle_dir)
    engine.start()
    faces = samples(engine)
    roles = [Role.PROBE, Role.REFERENCE] * 4
    found = await asyncio.gather(*(engine.detector.detect(s.image) for s in faces))
    assert all(one.faces for one in found)
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


def with_two_encoders(bundle_dir: Path, root: Path, manifest: Manifest, *, routing: Routing) -> Engine:
    """The bundle with a second encoder, of other weights, for references."""
    spec = manifest.encoder
    reference = root.parent / "reference.onnx"
    reference.write_bytes(other_weights((bundle_dir / spec.probe.path).read_bytes()))
    update = {"reference": file_ref(reference), "routing": routing}
    changed = manifest.model_copy(update={"encoder": spec.model_copy(update=update)})
    rebuilt(bundle_dir, root, changed)
    shutil.copyfile(reference, root / reference.name)
    return load(root)


async def test_of_two_encoders_each_embeds_its_own_role_even_at_once(
    bundle_dir: Path, tmp_path: Path, engine: Engine, seen: list[Seen]
) -> None:
    spec = engine.manifest.encoder
    two = with_two_encoders(bundle_dir, tmp_path / "two", engine.manifest, routing="role")
    two.start()
    crops = [align(s.image, s.face, spec.alignment) for s in seen]
    found = await asyncio.gather(*(two.encoder.embed(crop, role) for crop in crops for role in Role))
    await two.close()
    templates = [template for (template,) in found]
    assert [t.role for t in templates] == list(Role) * len(crops)
    for crop, probe, reference in zip(crops, templates[::2], templates[1::2], strict=True):
        tensor = encoder_input(crop, spec)
        for template, role in ((probe, Role.PROBE), (reference, Role.REFERENCE)):
            (expected,) = two.encoder.run([(role, tensor)])
            np.testing.assert_allclose(template.vector, expected, atol=CROP_TOLERANCE)
        assert np.abs(probe.vector - reference.vector).max() > 100 * CROP_TOLERANCE


async def test_by_condition_masked_and_nir_probes_take_the_probe_encoder(
    bundle_dir: Path, tmp_path: Path, engine: Engine, seen: list[Seen]
) -> None:
    two = with_two_encoders(bundle_dir, tmp_path / "two", engine.manifest, routing="condition")
    two.start()
    for s in seen:
        tensor = encoder_input(align(s.image, s.face, two.manifest.encoder.alignment), two.manifest.encoder)
        expected = {role: two.encoder.run([(role, tensor)])[0] for role in Role}
        nir = s.image.spectrum is Spectrum.NIR
        for role, name in ((Role.REFERENCE, Role.REFERENCE), (Role.PROBE, [Role.REFERENCE, Role.PROBE][nir])):
            one = await two.describe(s.image, s.face, role)
            (template,) = one.embeddings
            assert template.role is role
            assert one.mask.masked is nir
            np.testing.assert_allclose(template.vector, expected[name], atol=CROP_TOLERANCE)
    await two.close()


async def test_a_visible_probe_with_an_uncertain_mask_takes_both_encoders(
    bundle_dir: Path, tmp_path: Path, engine: Engine, seen: list[Seen]
) -> None:
    two = with_two_encoders(bundle_dir, tmp_path / "two", engine.manifest, routing="condition")
    one = load(bundle_dir)
    crop = align(seen[0].image, seen[0].face, two.manifest.encoder.alignment)
    two.start()
    one.start()
    with pytest.raises(ValueError, match="mask state"):
        await two.encoder.embed(crop, Role.PROBE)
    for masked, first in ((False, Role.REFERENCE), (True, Role.PROBE)):
        reading = MaskReading(MaskState.UNCERTAIN, masked, 0.5)
        both = await two.encoder.embed(crop, Role.PROBE, reading)
        names = (first, Role.PROBE if first is Role.REFERENCE else Role.REFERENCE)
        for template, name in zip(both, names, strict=True):
            (expected,) = two.encoder.run([(name, encoder_input(crop, two.manifest.encoder))])
            np.testing.assert_allclose(template.vector, expected, atol=CROP_TOLERANCE)
        assert len(await one.encoder.embed(crop, Role.PROBE, reading)) == 1
    await one.close()
    await two.close()


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
    (first,), (second,) = (engine.detector.run([each])[0].faces for each in (one, two))
    np.testing.assert_allclose(second.landmarks, first.landmarks, atol=2)
