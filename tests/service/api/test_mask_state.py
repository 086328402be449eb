"""Tests what the service does with a mask state that cannot be told."""

from __future__ import annotations

import shutil
from itertools import product, starmap
from pathlib import Path

import pytest

from faces.bundle import Manifest, read, write_manifest
from faces.types import Condition, Pair, Spectrum
from service.settings import builtin_bundle
from tests.conftest import StartService, sample_bytes


def with_band(root: Path, band: tuple[float, float]) -> Manifest:
    """Copies the built-in bundle and sets the band of uncertain probabilities."""
    shutil.copytree(builtin_bundle(), root)
    manifest = read(root).manifest
    mask = manifest.mask.model_copy(update={"uncertain": band})
    write_manifest(manifest.model_copy(update={"mask": mask}), root)
    return read(root).manifest


def test_an_uncertain_probe_gets_the_stricter_threshold(start_service: StartService, tmp_path: Path) -> None:
    manifest = with_band(tmp_path / "uncertain", (0.0, 1.0))
    running = start_service(HALFLIGHT_BUNDLE_DIR=str(tmp_path / "uncertain"))
    calibration = manifest.calibration
    assert calibration is not None
    vis = [Condition(Spectrum.VIS, masked) for masked in (False, True)]
    fmr = calibration.default_fmr
    pairs = list(starmap(Pair, product(vis, vis)))
    limits = [calibration.at(pair, fmr).threshold for pair in pairs if calibration.has(pair)]
    against_clear = [calibration.at(Pair.with_clear_reference(probe), fmr).threshold for probe in vis]
    assert against_clear[0] != against_clear[1], "the test would show nothing"
    with running.client() as client:
        probe = {"image": sample_bytes("s01"), "reference": sample_bytes("s01", "vis_2.jpg")}
        verified = client.post("/verify", files=probe).json()
        identified = client.post("/identify", files={"image": sample_bytes("s01")}).json()["results"][0]
    assert identified["condition"]["mask_state"] == "uncertain"
    assert identified["condition"]["masked"] is False, "the likelier state is still told"
    assert identified["threshold"] == pytest.approx(max(against_clear))
    # That of the reference image cannot be told either; a pair without a threshold is the strictest.
    strictest = max(limits) if len(limits) == len(pairs) else None
    assert verified["threshold"] == pytest.approx(strictest)


def test_a_certain_state_is_the_boolean(start_service: StartService) -> None:
    running = start_service(HALFLIGHT_BUNDLE_DIR=str(builtin_bundle()))
    with running.client() as client:
        for name, state in (("vis_1.jpg", "unmasked"), ("nir_masked_1.jpg", "masked")):
            answer = client.post("/identify", files={"image": sample_bytes("s01", name)}).json()
            condition = answer["results"][0]["condition"]
            assert (condition["mask_state"], condition["masked"]) == (state, state == "masked")
