"""An exported verifier agrees with torch, and goes into a bundle or beside a detector."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from export.detection import with_detector
from export.detector import export_detector, write_facts
from export.graph import ExportError
from export.verifier import FILE, INPUT, OUTPUT, export_verifier, main, read_rule
from faces.bundle import LookWindow, VerdictRule, read, verify
from service.settings import builtin_bundle
from tests.training.detector.parts import TINY
from training.detector.candidates import open_candidate
from training.detector.network import DetectorNet
from training.detector.verifier import VerifierConfig, VerifierNet, save_verifier
from training.networks.onnx_runner import session

SMALL = VerifierConfig(input_px=32, times=2.0, stem=4, quarter=4, eighth=8, deep=8)
RULE = VerdictRule(least=0.4, below=0.75, offset=-0.5, score=1.0, verdict=0.5, data="made up")


@pytest.fixture(scope="module")
def net() -> VerifierNet:
    torch.manual_seed(0)
    return VerifierNet(SMALL).eval()


def run(*words: str | Path) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(main)
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exit_code, done.output


def test_a_verifier_takes_any_number_of_crops_and_agrees_with_torch(net: VerifierNet, tmp_path: Path) -> None:
    assert export_verifier(net, SMALL, tmp_path / FILE) < 1e-4
    crops = np.random.default_rng(1).uniform(-1, 1, (5, 3, 32, 32)).astype(np.float32)
    (found,) = session(tmp_path / FILE, threads=1).run([OUTPUT], {INPUT: crops})
    assert found.shape == (5, 1)
    with torch.no_grad():
        np.testing.assert_allclose(found, net(torch.from_numpy(crops)).numpy(), atol=1e-4)


def test_a_verifier_that_is_too_large_is_refused(tmp_path: Path) -> None:
    large = VerifierConfig(deep=256)
    with pytest.raises(ExportError, match="parameters"):
        export_verifier(VerifierNet(large), large, tmp_path / FILE)
    assert not any(tmp_path.iterdir())


def test_a_bundle_gets_a_verifier_and_keeps_its_space_and_thresholds(
    net: VerifierNet, tmp_path: Path
) -> None:
    save_verifier(tmp_path / "verifier.pt", net, SMALL)
    (tmp_path / "rule.json").write_text(RULE.model_dump_json())
    shutil.copytree(builtin_bundle(), tmp_path / "own")
    before = read(builtin_bundle()).manifest
    code, text = run(tmp_path / "verifier.pt", tmp_path / "own", "--rule", tmp_path / "rule.json")
    assert (code, "parameters" in text) == (0, True)
    bundle = read(tmp_path / "own")
    verify(bundle)
    spec = bundle.manifest.detector.verifier
    assert spec is not None
    assert (spec.input_px, spec.window) == (32, LookWindow(times=2.0))
    assert {name: getattr(spec, name) for name in VerdictRule.model_fields} == RULE.model_dump()
    assert bundle.manifest.space_id == before.space_id
    assert bundle.manifest.calibration == before.calibration
    assert "Apache" in bundle.manifest.licences[FILE]


def test_a_verifier_beside_a_detector_goes_with_it_into_a_bundle(
    bundle_dir: Path, net: VerifierNet, tmp_path: Path
) -> None:
    export_detector(DetectorNet(TINY), tmp_path / "detector.onnx")
    write_facts(tmp_path / "detector.onnx", score_threshold=0.5, nms_iou=0.4, mask_threshold=0.5)
    save_verifier(tmp_path / "verifier.pt", net, SMALL)
    (tmp_path / "rule.json").write_text(RULE.model_dump_json())
    facts = tmp_path / "detector.json"
    assert run(tmp_path / "verifier.pt", facts, "--rule", tmp_path / "rule.json")[0] == 0
    assert open_candidate(tmp_path / "detector.onnx").runner.spec.verifier is not None
    made = with_detector(read(bundle_dir), facts, tmp_path / "own", licence="a test")
    verify(made)
    assert made.manifest.licences[FILE] == "a test"
    assert open_candidate(tmp_path / "own").runner.spec.verifier is not None
    (tmp_path / FILE).unlink()
    with pytest.raises(ExportError, match=f"{FILE} does not lie beside"):
        with_detector(read(bundle_dir), facts, tmp_path / "other", licence="a test")


def test_a_rule_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rule.json").write_text(json.dumps(RULE.model_dump() | {"verdict": -1.0}))
    for name in ("rule.json", "none.json"):
        with pytest.raises(ExportError, match="detector verifier fit"):
            read_rule(tmp_path / name)
