"""Tests that the script renders the committed samples."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import SAMPLES
from training.synthesis.rendered import __main__ as command

CLOSE = 2.0


@pytest.mark.slow
@pytest.mark.realdata
def test_the_script_makes_the_committed_samples(shared: Path, tmp_path: Path) -> None:
    kit = str(shared / "data" / "ict_facekit")
    assert command.main(["--out", str(tmp_path), "--facekit", kit, "--subjects", "3", "--seed", "7"]) == 0
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.jpg"))
    assert len(made) == 12
    for path in made:
        one, two = (np.asarray(cv2.imread(str(root / path)), float) for root in (tmp_path, SAMPLES))
        # Not to the bit: another processor may round otherwise.
        assert np.abs(one - two).mean() < CLOSE, path


def test_the_samples_have_twelve_subjects_to_enrol_and_two_others_with_every_view() -> None:
    index = json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8"))["subjects"]
    assert sum(subject["enrol"] for subject in index) >= 12
    assert any(not subject["enrol"] for subject in index)
    for subject in index:
        assert len(subject["vis"]) == len(subject["nir_masked"]) == 2
        for name in subject["vis"] + subject["nir_masked"]:
            path = SAMPLES / subject["subject_id"] / name
            pixels = cv2.imread(str(path))
            assert pixels is not None
            assert (np.ptp(pixels, axis=2).max() == 0) == (name in subject["nir_masked"])
            assert path.stat().st_size < 60_000


def test_the_script_refuses_a_folder_without_the_model(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(["--out", str(tmp_path), "--facekit", str(tmp_path / "nowhere")])
    assert caught.value.code == 2
