"""The smoke run on the committed samples, and what the command refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from faces.bundle import read
from faces.types import Spectrum
from training.__main__ import app
from training.data.records import DataSetError
from training.networks.onnx_runner import BundleRunner
from training.research.smoke import BATCH, Stage, run_smoke
from training.synthesis.rendered.sample_set import sample_sets


def test_the_committed_samples_are_enough_for_every_part(bundle_dir: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    learn, strangers = sample_sets(tmp_path, BundleRunner(read(bundle_dir)))
    subjects = [{row.subject for row in part.rows} for part in (learn, strangers)]
    assert len(subjects[0]) == BATCH
    assert not subjects[0] & subjects[1]
    assert all(row.masked == (row.spectrum is Spectrum.NIR) for row in strangers.rows)
    quick = Stage(iterations=2, lr=0.01)
    steps: list[tuple[str, int, int]] = []
    results = run_smoke(
        learn,
        strangers,
        tmp_path,
        on_step=lambda *step: steps.append(step),
        pretrain=quick,
        fine_tune=quick,
    )
    assert [result.arm for result in results] == ["pre-trained", "plain+", "HSST"]
    assert steps == [(name, i, 2) for name in ("pre-trained", "plain+", "HSST") for i in (1, 2)]
    (found,) = (one for one in results[0].found if one.condition == "nir-masked")
    assert found.counts.probes.sum() == sum(row.role == "probe" for row in strangers.rows)


def test_missing_samples_and_a_wrong_face_model_are_refused(bundle_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="checkout"):
        sample_sets(tmp_path, BundleRunner(read(bundle_dir)), folder=tmp_path)
    wrong = CliRunner().invoke(app, ["smoke", "--facekit", str(tmp_path)])
    assert wrong.exit_code == 2
    assert "FaceKit" in wrong.output
