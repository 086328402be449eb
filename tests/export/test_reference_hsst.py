"""`halflight models build reference-hsst` on a few blocks, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from export.reference_hsst import main
from faces.bundle import read, verify
from faces.types import CONDITIONS, Spectrum
from tests.export.parts import SIDE_PX, crop
from training.data.network_input import network_input
from training.data.prepared import PreparedSet, Row, SetInfo
from training.data.set_writer import SetWriter
from training.networks.layers import unit_rows
from training.networks.onnx_import import import_bundle
from training.networks.onnx_runner import BatchRunner

TRAIN, HELD_OUT = 8, 26
FEW = (
    "task.method.queue=8",
    "batch=4",
    "validation.every=0",
    "loop.save_every=1",
    "loop.warmup=0",
    "loop.lr=1e-5",
)

app = typer.Typer()
app.command()(main)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    """Eight subjects to learn from, twenty-six to calibrate on, with probes of every condition."""
    torch.set_num_threads(1)
    info = SetInfo(name="blocks", alignment="arcface-112", side_px=SIDE_PX, made_by="a test", synthetic="all")
    writer = SetWriter(tmp_path_factory.mktemp("blocks") / "set", info)
    for subject in range(TRAIN + HELD_OUT):
        trained = subject < TRAIN
        for photo in range(2):
            for condition in CONDITIONS:
                plain = condition.spectrum is Spectrum.VIS and not condition.masked
                if not trained and (photo == 0) != plain and photo == 0:
                    continue
                row = Row(
                    source=f"{subject}/{photo}",
                    subject=str(subject),
                    spectrum=condition.spectrum,
                    masked=condition.masked,
                    split="train" if trained else "validation",
                    role="none" if trained else ("probe" if photo else "gallery"),
                )
                writer.add(row, crop(subject, photo, condition.spectrum, masked=condition.masked))
    return writer.close()


def words(blocks: PreparedSet, bundle_dir: Path, place: Path, iterations: int) -> list[str]:
    asked = ["--set", str(blocks.root), "--out", str(place / "made"), "--work", str(place / "work")]
    asked += ["--base", str(bundle_dir), "--iterations", str(iterations), "--fmr", "0.1"]
    return asked + [word for text in FEW for word in ("--recipe", text)]


@pytest.mark.slow
def test_a_bundle_of_512_dimensions_is_trained_and_calibrated(
    blocks: PreparedSet, bundle_dir: Path, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, words(blocks, bundle_dir, tmp_path, 2))
    assert done.exit_code == 0, done.output
    made = read(tmp_path / "made")
    verify(made)
    spec, calibration = made.manifest.encoder, made.manifest.calibration
    assert (made.manifest.name, spec.dimension, spec.alignment) == ("reference-hsst", 512, "arcface-112")
    assert calibration is not None
    assert calibration.default_fmr == 0.1
    crops = np.stack([crop(99, photo, Spectrum.VIS, masked=False) for photo in range(4)])
    images = network_input(crops, spec.input_px[0])
    learned = BatchRunner(made.path(spec.probe)).run(images.numpy())
    net, _ = import_bundle(bundle_dir, dimension=512)
    before = unit_rows(net.eval()(images)).detach().numpy()
    cosines = (learned / np.linalg.norm(learned, axis=1, keepdims=True) * before).sum(axis=1)
    assert cosines.min() > 0.9, "it begins with the reference embedder"
    assert cosines.max() < 0.999999, "and has learned"
    record = json.loads((tmp_path / "work" / "run" / "run.json").read_text())
    assert (record["iterations"], record["finished"]) == (2, True)


def test_sets_that_support_no_threshold_are_refused_before_training(
    blocks: PreparedSet, bundle_dir: Path, tmp_path: Path
) -> None:
    asked = words(blocks, bundle_dir, tmp_path, 2)
    asked[asked.index("0.1")] = "0.001"
    refused = CliRunner().invoke(app, asked)
    assert refused.exit_code == 2
    assert "26 subjects support no FMR of 0.001" in " ".join(refused.stderr.split())
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("both", [False, True])
def test_the_command_needs_either_a_set_or_the_standin(
    both: bool, blocks: PreparedSet, bundle_dir: Path, tmp_path: Path
) -> None:
    asked = words(blocks, bundle_dir, tmp_path, 2)
    refused = CliRunner().invoke(app, [*asked, "--standin"] if both else asked[2:])
    assert refused.exit_code == 2
    assert "--set SET, or --standin" in refused.stderr
