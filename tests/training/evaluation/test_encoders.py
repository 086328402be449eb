"""Tests ONNX files and bundles as encoders, with networks that the tests write."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from faces.bundle import Normalisation, file_ref, parse_manifest, read, write_manifest
from faces.types import CONDITIONS, Pixels, Role, Spectrum
from service.bundles.reference import MANIFEST_FILE
from tests.training.evaluation.faces_set import SIDE_PX, BlockEncoder, centring, crop, write_network
from training.data.records import DataSetError
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import save_encoder
from training.networks.crop_encoder import embed_as
from training.networks.encoders import load_encoder
from training.networks.onnx_encoders import BundleEncoder, OnnxEncoder, OnnxInput

RAW = OnnxInput(side_px=SIDE_PX, normalisation=Normalisation(order="bgr", mean=(0, 0, 0), std=(1, 1, 1)))


def crops(count: int = 5) -> Pixels:
    rng = np.random.default_rng(0)
    return np.stack([crop(i, noise=5, masked=False, rng=rng) for i in range(count)])


@pytest.mark.parametrize("batch", [None, 1, 4])
@pytest.mark.parametrize("side_px", [None, SIDE_PX])
def test_any_batch_gives_the_same_vectors(tmp_path: Path, batch: int | None, side_px: int | None) -> None:
    write_network(tmp_path / "n.onnx", batch=batch, side_px=side_px, weights=centring())
    encoder = OnnxEncoder(tmp_path / "n.onnx", RAW)
    found = encoder.embed(crops(), Spectrum.NIR)
    assert found == pytest.approx(BlockEncoder().embed(crops(), Spectrum.NIR), abs=1e-5)
    assert encoder.embed(crops()[:0], Spectrum.NIR).shape == (0, 16)
    assert encoder.name.startswith("n.onnx (SHA-256 ")


def test_crops_are_resized_cut_and_normalised(tmp_path: Path) -> None:
    weights = np.random.default_rng(1).standard_normal((48, 8)).astype(np.float32)
    write_network(tmp_path / "n.onnx", weights=weights)
    big = np.random.default_rng(2).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    options = OnnxInput(
        columns=(8, 24), normalisation=Normalisation(order="rgb", mean=(1, 2, 3), std=(4, 5, 6))
    )
    found = OnnxEncoder(tmp_path / "n.onnx", options).embed(big, Spectrum.VIS)[0]
    # Half as high, as wide as the cut: bilinear sampling takes the mean of two rows.
    cut = big[0, :, 8:24, ::-1].astype(np.float64)
    small = (cut[0::2] + cut[1::2]) / 2
    value = (small - (1, 2, 3)) / (4, 5, 6)
    means = value.reshape(4, 4, 4, 4, 3).mean(axis=(1, 3)).transpose(2, 0, 1).ravel()
    expected = means @ weights
    assert found == pytest.approx(expected / np.linalg.norm(expected), abs=0.01)


def test_a_file_that_is_no_encoder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(DataSetError, match=r"broken\.onnx cannot be used"):
        OnnxEncoder(tmp_path / "broken.onnx")
    write_network(tmp_path / "n.onnx", weights=centring())
    with pytest.raises(DataSetError, match="16 x 16 px, not 112"):
        OnnxEncoder(tmp_path / "n.onnx", OnnxInput(side_px=112))
    with pytest.raises(DataSetError, match="no alignment"):
        OnnxEncoder(tmp_path / "n.onnx", OnnxInput(alignment="by-eye"))
    with pytest.raises(DataSetError, match="neither"):
        load_encoder(tmp_path / "weights.bin")


def bundle(root: Path, *, two: bool) -> Path:
    """The committed recipe around the tests' networks."""
    root.mkdir()
    write_network(root / "probe.onnx", weights=centring())
    write_network(root / "reference.onnx", weights=-centring() if two else centring())
    data = json.loads(MANIFEST_FILE.read_text(encoding="utf-8"))
    small = root / "other.onnx"
    write_network(small, weights=np.ones((48, 8), np.float32))
    other = file_ref(small).model_dump()
    data["detector"]["file"] = data["mask"]["file"] = other
    data["encoder"] |= {
        "probe": file_ref(root / "probe.onnx").model_dump(),
        "reference": file_ref(root / "reference.onnx").model_dump(),
        "columns": None,
        "input_px": [SIDE_PX, SIDE_PX],
        "dimension": 16,
    }
    write_manifest(parse_manifest(json.dumps(data)), root)
    return root


def test_a_bundle_is_an_encoder(tmp_path: Path) -> None:
    encoder = load_encoder(bundle(tmp_path / "b", two=False))
    assert isinstance(encoder, BundleEncoder)
    assert encoder.alignment == "arcface-112"
    expected = BlockEncoder().embed(crops(), Spectrum.VIS)
    for spectrum in Spectrum:
        assert encoder.embed(crops(), spectrum) == pytest.approx(expected, abs=1e-5)
    assert str(tmp_path) not in encoder.name


def test_a_bundle_of_two_networks_takes_one_by_spectrum(tmp_path: Path) -> None:
    encoder = BundleEncoder(bundle(tmp_path / "b", two=True))
    nir, vis = (encoder.embed(crops(), spectrum) for spectrum in (Spectrum.NIR, Spectrum.VIS))
    assert nir == pytest.approx(-vis, abs=1e-6)


def test_a_bundle_routes_by_role_or_by_condition_as_the_service_does(tmp_path: Path) -> None:
    root = bundle(tmp_path / "b", two=True)
    probe = BundleEncoder(root).embed(crops(), Spectrum.NIR)
    manifest = read(root).manifest
    write_manifest(
        manifest.model_copy(update={"encoder": manifest.encoder.model_copy(update={"routing": "condition"})}),
        tmp_path / "c",
    )
    for path in root.glob("*.onnx"):
        shutil.copyfile(path, tmp_path / "c" / path.name)
    for place, takes_probe in (("b", CONDITIONS), ("c", CONDITIONS[1:])):
        encoder = BundleEncoder(tmp_path / place)
        for condition in CONDITIONS:
            reference = embed_as(encoder, crops(), Role.REFERENCE, condition)
            assert reference == pytest.approx(-probe, abs=1e-6)
            sign = 1 if condition in takes_probe else -1
            assert embed_as(encoder, crops(), Role.PROBE, condition) == pytest.approx(sign * probe, abs=1e-6)


def test_a_changed_bundle_is_refused(tmp_path: Path) -> None:
    root = bundle(tmp_path / "b", two=False)
    (root / "probe.onnx").write_bytes(b"changed")
    with pytest.raises(DataSetError, match="does not match its digest"):
        BundleEncoder(root)


def test_a_checkpoint_is_recognised_by_its_suffix(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = BackboneConfig(side_px=32, dimension=8, width=0.25)
    save_encoder(tmp_path / "small.pt", config.build(), config)
    encoder = load_encoder(tmp_path / "small.pt")
    assert (encoder.name, encoder.alignment) == ("small", "arcface-112")
    assert encoder.embed(crops(2), Spectrum.NIR).shape == (2, 8)
