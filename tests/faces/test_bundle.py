"""Tests the strict manifest, the digests, and the space id."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faces.bundle import MANIFEST_NAME, BundleError, file_ref, parse_manifest, read, verify, write_manifest
from faces.calibration import UnsupportedFmr
from faces.types import Condition, Pair, Spectrum
from service.bundles.reference import MANIFEST_FILE
from service.settings import CHECKOUT

Change = Callable[[dict[str, Any]], None]


def manifest_text(change: Change | None = None) -> str:
    """The committed recipe, changed."""
    data = json.loads(MANIFEST_FILE.read_text(encoding="utf-8"))
    if change is not None:
        change(data)
    return json.dumps(data)


def put(path: str, value: object) -> Change:
    def change(data: dict[str, Any]) -> None:
        *way, last = path.split(".")
        for step in way:
            data = data[step]
        data[last] = value

    return change


def test_the_committed_recipe_is_a_valid_manifest_with_thresholds() -> None:
    manifest = parse_manifest(manifest_text())
    assert manifest.calibration is not None
    assert set(manifest.licences) == {ref.path for ref in manifest.files}


@pytest.mark.parametrize(
    "change",
    [
        put("extra", 1),
        put("encoder.extra", 1),
        put("format", 2),
        put("format", 3),
        put("name", "../up"),
        put("detector.file.path", "../up.onnx"),
        put("detector.file.path", "/etc/passwd"),
        put("detector.file.sha256", "abc"),
        put("detector.canvas_px", [640, 320]),
        put("encoder.dimension", 0),
        put("encoder.metric", "euclidean"),
        put("encoder.routing", "spectrum"),
        put("encoder.normalisation.std", [0, 1, 1]),
        put("mask.threshold", 1.5),
        put("calibration.default_fmr", 1e-9),
        put("calibration.conditions", []),
    ],
)
def test_an_invalid_manifest_is_refused(change: Change) -> None:
    with pytest.raises(BundleError, match="manifest: "):
        parse_manifest(manifest_text(change))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (put("version", "2"), True),
        (put("calibration", None), True),
        (put("detector.score_threshold", 0.7), True),
        (put("encoder.probe.path", "renamed.onnx"), True),
        (put("encoder.probe.sha256", "0" * 64), False),
        (put("encoder.normalisation.mean", [1, 1, 1]), False),
        (put("encoder.columns", None), False),
        (put("encoder.alignment", "arcface-144"), False),
        (put("encoder.dimension", 512), False),
        (put("encoder.routing", "role"), True),
        (put("encoder.routing", "condition"), False),
    ],
)
def test_the_space_id_changes_only_with_what_shapes_a_vector(change: Change, same: bool) -> None:
    before, after = parse_manifest(manifest_text()), parse_manifest(manifest_text(change))
    assert (before.space_id == after.space_id) is same


def test_the_committed_bundle_keeps_the_id_of_its_space() -> None:
    assert read(CHECKOUT / "models" / "halflight-1").manifest.space_id == "sp-02bbdf418e4e15bf"


def test_thresholds_rise_with_strictness_and_other_points_are_refused() -> None:
    calibration = parse_manifest(manifest_text()).calibration
    assert calibration is not None
    for pair in (Pair.with_clear_reference(Condition(s, m)) for s in Spectrum for m in (False, True)):
        points = list(calibration.points(pair))
        assert [p.threshold for p in points] == sorted(p.threshold for p in points)
        assert all(p.fmr_upper >= p.fmr * 0.9 for p in points)
        with pytest.raises(UnsupportedFmr) as caught:
            calibration.at(pair, 3e-4)
        assert caught.value.supported == calibration.supported(pair)


def test_a_damaged_or_missing_file_is_named(bundle_dir: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle_dir, tmp_path / "bundle"))
    bundle = read(copy)
    verify(bundle)
    victim = bundle.path(bundle.manifest.detection_files[-1])
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    with pytest.raises(BundleError, match=f"{victim.name} does not match"):
        verify(bundle)
    victim.unlink()
    with pytest.raises(BundleError, match=f"{victim.name} is missing"):
        verify(bundle)


def test_a_manifest_is_written_whole_and_read_back(tmp_path: Path) -> None:
    manifest = parse_manifest(manifest_text())
    write_manifest(manifest, tmp_path / "new")
    assert read(tmp_path / "new").manifest == manifest
    assert [path.name for path in (tmp_path / "new").iterdir()] == [MANIFEST_NAME]
    with pytest.raises(BundleError, match="no bundle"):
        read(tmp_path / "nowhere")


def test_a_file_is_measured_for_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"abc")
    ref = file_ref(tmp_path / "x.bin", name="nets/x.bin")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (ref.path, ref.bytes, ref.sha256) == ("nets/x.bin", 3, digest)
