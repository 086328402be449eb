"""A stranger makes the tools of public files, and masks a set with nothing else."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from faces.bundle import read, verify
from faces.types import Spectrum
from service.bundles.catalogue import find_model
from tests.conftest import REPO, SAMPLES
from tests.training.networks.representation import write_representation
from training.data.prepared import read_prepared
from training.networks.onnx_runner import BundleRunner
from training.synthesis.assets import CANONICAL_FACE, MESH_NETWORK, Pin, SynthesisError, cache_directory
from training.views.public_tools import (
    MASK_NAME,
    MASK_SHA256,
    MESH_MEMBER,
    TRUNK_DESCRIPTION,
    TRUNK_NAME,
    TRUNK_SHA256,
    TRUNK_WEIGHTS,
    WHEEL,
    mask_network,
    mesh_network,
    trunk_network,
)
from training.views.trunk_bundle import trunk_bundle

PUBLIC = ("faces", "training", "models/halflight-2")


@pytest.fixture(scope="module")
def wheel() -> Path:
    """`make dev` downloads it."""
    path = cache_directory() / WHEEL.file_name
    if not path.is_file():
        pytest.skip("no wheel of mediapipe: run `python -m training tools`")
    return path


def pins_of(folder: Path) -> tuple[Pin, Pin]:
    """Pins of files of our own, in place of the zoo's."""
    made = []
    for pin, name in ((TRUNK_DESCRIPTION, "net.xml"), (TRUNK_WEIGHTS, "net.bin")):
        content = (folder / name).read_bytes()
        digest, size = hashlib.sha256(content).hexdigest(), len(content)
        made.append(replace(pin, file_name=name, sha256=digest, size=size, url=None))
    return made[0], made[1]


def test_the_pins_are_those_of_the_catalogue() -> None:
    assert find_model(TRUNK_NAME).sha256 == TRUNK_SHA256
    assert find_model(MASK_NAME).sha256 == MASK_SHA256


def test_the_mesh_comes_out_of_the_wheel_to_the_byte(wheel: Path, tmp_path: Path) -> None:
    made = mesh_network(tmp_path, wheel=wheel)
    assert made.path == tmp_path / MESH_NETWORK.file_name
    content = made.path.read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (MESH_NETWORK.size, MESH_NETWORK.sha256)


def test_another_wheel_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.whl"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr(MESH_MEMBER, b"another network")
    with pytest.raises(SynthesisError, match=r"other\.whl holds another .*mediapipe==0\.10\.21"):
        mesh_network(tmp_path, wheel=other)
    other.write_bytes(b"no archive")
    with pytest.raises(SynthesisError, match=r"other\.whl is no wheel"):
        mesh_network(tmp_path, wheel=other)
    assert not (tmp_path / MESH_NETWORK.file_name).exists()


def test_without_an_index_it_says_how_to_bring_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALFLIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(SynthesisError, match=r"could not download[\s\S]*pip download[\s\S]*--wheel"):
        mesh_network(tmp_path)


def test_another_mask_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match=r"none\.tflite cannot be read: take https://github\.com"):
        mask_network(tmp_path, tmp_path / "none.tflite")
    (tmp_path / "bad.tflite").write_bytes(b"bytes")
    with pytest.raises(SynthesisError, match=r"bad\.tflite cannot be converted"):
        mask_network(tmp_path, tmp_path / "bad.tflite")


def test_the_zoo_s_files_are_taken_by_their_digests(tmp_path: Path) -> None:
    (tmp_path / TRUNK_DESCRIPTION.file_name).write_text("<net/>")
    (tmp_path / TRUNK_WEIGHTS.file_name).write_bytes(b"")
    with pytest.raises(SynthesisError, match="another file than the pinned one"):
        trunk_network(
            tmp_path,
            representation=tmp_path,
            pins=(replace(TRUNK_DESCRIPTION, url=None), replace(TRUNK_WEIGHTS, url=None)),
        )


@pytest.mark.realdata
def test_the_trunk_becomes_a_bundle_that_training_reads(shared: Path, tmp_path: Path) -> None:
    source = onnx.load(shared / "models" / TRUNK_NAME)
    folder = tmp_path / "ir"
    folder.mkdir()
    write_representation(source, folder)
    made = trunk_network(tmp_path, representation=folder, pins=pins_of(folder))
    assert made.pinned
    assert trunk_bundle(made.path, tmp_path / "bundle") > 0.99999
    bundle = read(tmp_path / "bundle")
    verify(bundle)
    assert bundle.manifest.calibration is None
    assert bundle.manifest.encoder.dimension == 256
    assert BundleRunner(bundle)
    # Weights that differ by a hundredth are another network.
    for tensor in source.graph.initializer:
        values = np.frombuffer(tensor.raw_data, np.float32)
        noise = np.random.default_rng(5).normal(0, 0.3 * float(np.abs(values).mean()), values.shape)
        tensor.raw_data = (values + noise).astype(np.float32).tobytes()
    other = tmp_path / "other.onnx"
    onnx.save(source, other)
    with pytest.raises(SynthesisError, match="its vectors of rendered faces are others"):
        trunk_bundle(other, tmp_path / "second")


@pytest.mark.slow
def test_a_clean_clone_masks_a_set_with_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """Beside the clone lies nothing. The face model's geometry, 46 KB, is downloaded or, where its address
    cannot be reached, taken from the shared files."""
    clone = tmp_path / "clone"
    for part in PUBLIC:
        shutil.copytree(REPO / part, clone / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPO / "pyproject.toml", clone)
    shared = REPO.parent / "shared" / "models" / CANONICAL_FACE.file_name
    if shared.is_file():
        (clone / ".halflight" / "models").mkdir(parents=True)
        shutil.copy(shared, clone / ".halflight" / "models")
    env = {name: value for name, value in os.environ.items() if not name.startswith("HALFLIGHT_")}
    env |= {"PYTHONPATH": str(clone), "HOME": str(tmp_path)}

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "training", *map(str, words)]
        return subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True, check=False)

    photos = tmp_path / "photos"
    for person in ("s01", "s02", "s03"):
        for kind, name in (("vis", "vis_1.jpg"), ("nir", "vis_2.jpg")):
            (photos / person / kind).mkdir(parents=True)
            shutil.copy(SAMPLES / person / name, photos / person / kind / "1.jpg")
    refused = run("prepare", "generic", photos, tmp_path / "set", "--masks", "nir", "--workers", "1")
    assert refused.returncode == 2
    assert "`python -m training tools` makes it" in refused.stderr
    made = run("tools", "--wheel", wheel)
    if made.returncode and CANONICAL_FACE.file_name in made.stderr:
        pytest.skip("neither the face model's address nor the shared files can be reached")
    assert made.returncode == 0, made.stderr
    done = run("prepare", "generic", photos, tmp_path / "set", "--masks", "nir", "--workers", "1")
    assert done.returncode == 0, done.stderr
    rows = read_prepared(tmp_path / "set").rows
    masked = [row for row in rows if row.masked]
    assert len(rows) == 9
    assert len(masked) == 3
    assert {row.spectrum for row in masked} == {Spectrum.NIR}
