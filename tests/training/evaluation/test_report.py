"""Tests curves, the files of the report, and the command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from faces.rates import metrics
from faces.rates.intervals import Interval
from faces.rates.scores import Comparison
from faces.types import Spectrum
from tests.faces.rates.sides import noisy, side
from tests.training.evaluation.faces_set import BlockEncoder, centring, lost, make_set, write_network
from training.cli.evaluate import evaluate
from training.evaluation.conditions import Asked
from training.evaluation.evaluate import evaluate_split
from training.evaluation.folds import Spread
from training.evaluation.plots import cmc_curve, cmc_png, det, det_png
from training.evaluation.report import percent, rate_name, write_report


def test_det_points_are_rates_at_real_thresholds() -> None:
    comparison = noisy(30, each=2, noise=1.0, dimension=6)
    curve = det("x", comparison)
    exact = metrics.det_curve(comparison.scores[comparison.mated], comparison.scores[~comparison.mated])
    known = {(round(float(x), 9), round(float(y), 9)) for x, y in zip(exact.fmr, exact.fnmr, strict=True)}
    assert {(round(float(x), 9), round(float(y), 9)) for x, y in zip(curve.x, curve.y, strict=True)} <= known
    assert curve.x[-1] == 1.0
    assert (np.diff(curve.x) >= 0).all()
    assert (np.diff(curve.y) <= 0).all()


def test_failures_raise_the_det_curve_and_lower_the_cmc() -> None:
    whole = noisy(10, each=1, noise=0.1)
    probes = side(whole.probes.templates, whole.probes.subjects.tolist(), of="p", failed=(1, 2))
    comparison = Comparison(probes, whole.gallery)
    assert det("x", comparison).y.min() == pytest.approx(2 / 12)
    assert cmc_curve("x", comparison).y.max() == pytest.approx(10 / 12)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR))


def test_plots_are_pictures_with_a_curve_each() -> None:
    comparison = noisy(30, each=2, noise=1.0, dimension=6)
    empty = det_png([], title="t"), cmc_png([], title="t")
    drawn = det_png([det("a", comparison)], title="t"), cmc_png([cmc_curve("a", comparison)], title="t")
    for blank, png in zip(empty, drawn, strict=True):
        before, after = pixels(blank), pixels(png)
        assert after.shape[0] > 400
        assert before.shape == after.shape
        assert np.count_nonzero(np.any(before != after, axis=2)) > 200


def test_rates_are_written_in_percent() -> None:
    assert percent(Interval(0.936, 0.921, 0.95)) == "93.6 [92.1, 95.0]"
    assert percent(Spread(0.98253, 0.0042, 10)) == "98.25 ± 0.42"
    assert percent(0.0125) == "1.25"
    assert [rate_name(f) for f in (1e-2, 1e-3, 1e-4)] == ["1 %", "0.1 %", "0.01 %"]


def test_the_report_has_every_figure_and_escapes_names(tmp_path: Path) -> None:
    encoder = BlockEncoder()
    encoder.name = "<script>alert(1)</script>"
    refused = [lost("s001/nir9.png", Spectrum.NIR)]
    prepared = make_set(tmp_path / "set", subjects=30, refused=refused)
    evaluation, curves = evaluate_split(
        encoder, prepared, "test", asked=Asked(bootstraps=20, fmr_points=(0.1, 1e-3))
    )
    write_report(tmp_path / "out", evaluation, curves, command="a command", date="today")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;blocks&gt; &amp; noise" in page
    assert "SYNTHETIC" in page
    assert "not supported" in page
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert str(tmp_path) not in page
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    assert facts["conditions"][0]["condition"] == "nir-masked"
    shown = facts["conditions"][1]["figures"]
    assert shown["rank1"]["value"] == evaluation.conditions[1].figures.rank1.value
    assert percent(evaluation.conditions[1].figures.rank1) in page
    assert shown["verification"][0]["fmr"] == 0.1
    assert "rule of 30" in shown["refused"]["0.001"]
    assert shown["fta"] == pytest.approx(1 / 61)
    assert len(facts["matrix"]) == 4
    assert facts["masks"]["worst"] in {c["mask"] for c in facts["masks"]["cells"]}
    assert len(facts["synthetic"]) == 3
    for name in ("det.png", "cmc.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")


app = typer.Typer()
app.command()(evaluate)


def test_the_command_prints_tables_and_writes_the_report(tmp_path: Path) -> None:
    make_set(tmp_path / "set", subjects=30)
    write_network(tmp_path / "net.onnx", weights=centring())
    arguments = [str(tmp_path / "net.onnx"), str(tmp_path / "set"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(
        app, [*arguments, "--fmr", "0.1", "--bootstraps", "20"], env={"COLUMNS": "200"}
    )
    assert result.exit_code == 0, result.output
    assert "SYNTHETIC" in result.output
    assert "nir-masked" in result.output
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    assert facts["command"] == "python -m training evaluate net.onnx set --split test"
    found = facts["conditions"][0]["figures"]["rank1"]
    assert percent(Interval(**found)) in result.output


def test_the_command_names_the_fault(tmp_path: Path) -> None:
    make_set(tmp_path / "set", subjects=3)
    write_network(tmp_path / "net.onnx", weights=centring())
    for arguments, text in (
        ([str(tmp_path / "net.onnx"), str(tmp_path)], "no finished prepared set"),
        ([str(tmp_path / "net.bin"), str(tmp_path / "set")], "neither an .onnx nor a .pt"),
        ([str(tmp_path / "net.onnx"), str(tmp_path / "set"), "--split", "validation"], "no row of role"),
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert text in " ".join(result.output.split())
