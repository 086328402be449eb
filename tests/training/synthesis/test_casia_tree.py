"""Rendered subjects in CASIA's layout: read by its own loader, prepared, and synthetic in every row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from faces.types import Spectrum
from tests.training.data.pictures import aligned_tree
from training.__main__ import app
from training.data.casia import FOLDS, load_casia
from training.data.generated import GENERATED_FILE
from training.data.ms1m import load_ms1m
from training.data.prepared import read_prepared
from training.data.records import DataSetError
from training.synthesis.rendered.casia_tree import write_casia_tree
from training.synthesis.rendered.model import load_model
from training.synthesis.rendered.pictures import GENERATOR
from training.views.prepare import PrepareOptions, prepare_set
from training.views.prepare_sample import WorkOptions

SUBJECTS, VIS, NIR = 6, 2, 3


@pytest.mark.realdata
def test_a_rendered_tree_goes_the_way_of_casia_and_says_what_it_is(shared: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "casia", tmp_path / "set"
    words = ["synthesise", "casia", str(root), "--facekit", str(shared / "data" / "ict_facekit")]
    words += ["--subjects", str(SUBJECTS), "--vis", str(VIS), "--nir", str(NIR), "--size", "144"]
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.output
    assert "SYNTHETIC" in first.stdout
    made = {path: path.stat().st_mtime_ns for path in (root / "rendered").rglob("*.jpg")}
    assert len(made) == SUBJECTS * (VIS + NIR)
    # The same command renders nothing again.
    assert CliRunner().invoke(app, words).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in made} == made
    folds = load_casia(root).folds()
    assert len(folds) == FOLDS
    for fold in folds:
        trained = {sample.subject for sample in fold.train}
        tested = {sample.subject for sample in fold.probes}
        assert (len(trained), len(tested)) == (SUBJECTS // 2, SUBJECTS // 2)
        assert not trained & tested
        assert len(fold.gallery) == len(tested)
        assert len(fold.probes) == NIR * len(tested)
        assert len(fold.train) == (VIS + NIR) * len(trained)
    assert len({frozenset(sample.subject for sample in fold.train) for fold in folds}) > 1
    prepare = ["prepare", "casia", str(root), str(out), "--masks", "nir", "--engine", "landmarks"]
    done = CliRunner().invoke(app, [*prepare, "--fold", "1", "--workers", "1"])
    assert done.exit_code == 0, done.output
    prepared = read_prepared(out)
    assert {row.generator for row in prepared.rows} == {GENERATOR}
    assert "no real person" in (prepared.info.synthetic or "")
    assert "masks are drawn" in (prepared.info.synthetic or "")
    masked = [row for row in prepared.rows if row.masked]
    assert {row.spectrum for row in masked} == {Spectrum.NIR}
    assert len(masked) >= SUBJECTS * NIR - 2


@pytest.mark.realdata
def test_a_tree_of_one_subject_is_refused(shared: Path, tmp_path: Path) -> None:
    model = load_model(shared / "data" / "ict_facekit")
    with pytest.raises(DataSetError, match="two subjects or more"):
        write_casia_tree(tmp_path, model, subjects=1, vis=1, nir=1, seed=0, size_px=64)


def test_a_marked_folder_marks_every_row(tmp_path: Path) -> None:
    root = tmp_path / "crops"
    aligned_tree(root, subjects=2, each=2)
    options = PrepareOptions(dataset="ms1m", work=WorkOptions())
    plain = prepare_set(load_ms1m(root), tmp_path / "plain", options).found
    assert {row.generator for row in plain.rows} == {None}
    (root / GENERATED_FILE).write_text(json.dumps({"generator": "noise-1", "synthetic": "noise, nobody"}))
    marked = prepare_set(load_ms1m(root), tmp_path / "marked", options).found
    assert {row.generator for row in marked.rows} == {"noise-1"}
    assert marked.info.synthetic == "noise, nobody"
    with pytest.raises(DataSetError):
        prepare_set(load_ms1m(root), tmp_path / "plain", options)
    (root / GENERATED_FILE).write_text("{}")
    with pytest.raises(DataSetError, match="is damaged"):
        prepare_set(load_ms1m(root), tmp_path / "third", options)
