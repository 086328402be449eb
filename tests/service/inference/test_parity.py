"""Tests the parity check: the exported network passes, another one does not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from faces.align import align
from faces.bundle import Bundle, BundleError, ParitySpec, file_ref, read, verify, write_manifest
from faces.files import write_array
from faces.parity import cosines, read_parity
from faces.preprocess import encoder_input
from faces.types import Role
from service.inference.engine import Engine
from service.inference.parity import ParityError, check_parity
from tests.service.inference.faces import OPTIONS, load, samples


@pytest.fixture(scope="module")
def engine(bundle_dir: Path) -> Engine:
    return load(bundle_dir)


@pytest.fixture(scope="module")
def crops(engine: Engine) -> NDArray[np.uint8]:
    alignment = engine.manifest.encoder.alignment
    return np.stack([align(s.image, s.face, alignment).pixels for s in samples(engine)])


@pytest.fixture
def bundle(bundle_dir: Path, tmp_path: Path, engine: Engine, crops: NDArray[np.uint8]) -> Bundle:
    """The reference bundle with parity crops of its own."""
    root = Path(shutil.copytree(bundle_dir, tmp_path / "bundle"))
    write_array(root / "crops.npy", crops)
    found = read(root)
    spec = found.manifest.encoder
    probe = ParitySpec(
        crops=file_ref(root / "crops.npy"),
        probe=file_ref(root / "crops.npy"),
        reference=file_ref(root / "crops.npy"),
        minimum_cosine=0.9999,
    )
    found = Bundle(found.manifest.model_copy(update={"parity": probe}), root)
    inputs = [encoder_input(align(s.image, s.face, spec.alignment), spec) for s in samples(engine)]
    rows = np.stack([engine.encoder.run([(Role.PROBE, tensor)])[0] for tensor in inputs])
    return with_vectors(found, rows)


def with_vectors(bundle: Bundle, rows: NDArray[np.float32]) -> Bundle:
    write_array(bundle.root / "vectors.npy", rows)
    ref = file_ref(bundle.root / "vectors.npy")
    assert bundle.manifest.parity is not None
    parity = bundle.manifest.parity.model_copy(update={"probe": ref, "reference": ref})
    write_manifest(bundle.manifest.model_copy(update={"parity": parity}), bundle.root)
    return read(bundle.root)


def test_the_exported_network_passes_parity_and_keeps_its_space(bundle: Bundle, engine: Engine) -> None:
    verify(bundle)
    assert bundle.manifest.space_id == engine.manifest.space_id
    found = check_parity(bundle, Engine.load(bundle, OPTIONS))
    assert found is not None
    assert found.crops == 8
    assert set(found.minimum_cosine) == set(Role)
    assert min(found.minimum_cosine.values()) > 0.999999


def test_a_network_with_other_vectors_is_refused_with_the_cosine(bundle: Bundle, engine: Engine) -> None:
    stored = read_parity(bundle)
    assert stored is not None
    rng = np.random.default_rng(0)
    rows = stored.expected[Role.PROBE] + 0.01 * rng.standard_normal((8, 256)).astype(np.float32)
    drifted = with_vectors(bundle, rows)
    least = float(cosines(rows, stored.expected[Role.PROBE]).min())
    with pytest.raises(ParityError, match=r"0\.9999 is the least") as refused:
        check_parity(drifted, engine)
    said = re.search(r"cosine of (\S+)", str(refused.value))
    assert said is not None
    assert float(said.group(1)) == pytest.approx(least, abs=1e-5)


def test_a_bundle_without_parity_crops_has_no_parity_result(bundle_dir: Path, engine: Engine) -> None:
    assert check_parity(read(bundle_dir), engine) is None


def test_damaged_parity_files_fail_their_digests_and_wrong_ones_are_named(bundle: Bundle) -> None:
    (bundle.root / "vectors.npy").write_bytes(b"")
    with pytest.raises(BundleError, match=r"vectors\.npy"):
        verify(bundle)
    with pytest.raises(BundleError, match=r"vectors\.npy cannot be read"):
        read_parity(bundle)
    with pytest.raises(BundleError, match=r"vectors\.npy holds not one vector"):
        read_parity(with_vectors(bundle, np.zeros((3, 256), np.float32)))
    write_array(bundle.root / "crops.npy", np.zeros((8, 64, 64, 3), np.uint8))
    with pytest.raises(BundleError, match=r"crops\.npy holds no crops on arcface-112"):
        read_parity(bundle)


def test_pickled_arrays_are_not_loaded(bundle: Bundle) -> None:
    np.save(bundle.root / "vectors.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(BundleError, match="cannot be read"):
        read_parity(bundle)


def test_a_zero_or_infinite_vector_has_the_lowest_cosine() -> None:
    rows = np.array([[1, 0], [0, 0], [np.nan, 1], [np.inf, 1]], np.float32)
    assert cosines(rows, np.ones((4, 2), np.float32)).tolist() == [pytest.approx(0.5**0.5), -1, -1, -1]
