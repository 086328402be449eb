"""The calibration set of LFW photos: subjects, conditions, generators and masks."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from export.calibration_set import build, main, plan_jobs
from export.prepared_sets import plan_of, plans_of
from faces.types import CONDITIONS, PAIRS, Pair
from training.data.lfw import Identity, Photo, Split, split_of
from training.data.prepared import PreparedSet
from training.views.set_builder import ViewAssets


def identity(name: str, photos: int) -> Identity:
    return Identity(name, tuple(Photo(f"lfw/{name}/{i}", b"") for i in range(photos)))


def test_the_first_photo_is_the_reference_and_a_single_one_the_probe_too() -> None:
    jobs = plan_jobs([identity("one", 1), identity("many", 9)], probes=2)
    assert [(j.subject, j.photo.name[-1], j.reference, j.probe) for j in jobs] == [
        ("one", "0", True, True),
        ("many", "0", True, False),
        ("many", "1", False, True),
        ("many", "2", False, True),
    ]


def test_the_test_split_is_refused(tmp_path: Path) -> None:
    assets = ViewAssets(bundle=tmp_path)
    with pytest.raises(ValueError, match="never calibrated on the test split"):
        build(tmp_path / "lfw.tar", tmp_path / "set", assets, splits=frozenset(Split))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, shared: Path, bundle_dir: Path) -> PreparedSet:
    templates = shared / "data" / "mask_templates"
    assets = ViewAssets(bundle=bundle_dir, models=shared / "models", templates=templates)
    return build(
        shared / "data" / "lfw.tar",
        tmp_path_factory.mktemp("calibration") / "set",
        assets,
        splits=frozenset({Split.VALIDATION}),
        subjects=6,
        workers=1,
    )


@pytest.mark.realdata
def test_every_condition_has_probes_of_validation_subjects_made_as_for_training(made: PreparedSet) -> None:
    assert {split_of(row.subject) for row in made.rows} == {Split.VALIDATION}
    assert set(plans_of([made], ["validation"])) == set(PAIRS)
    for row in made.rows:
        assert (row.mask is not None) == row.masked
        assert row.generator == ("train-nir-1" if row.spectrum.value == "nir" else None)
        assert row.mask is None or not row.mask.startswith(("seam", "fold", "KN95", "surgical_green"))


@pytest.mark.realdata
def test_a_mated_comparison_needs_a_second_photo(made: PreparedSet) -> None:
    for condition in CONDITIONS:
        plan = plan_of(made, ["validation"], Pair.with_clear_reference(condition))
        sources = {made.rows[i].subject: made.rows[i].source for i in plan.references}
        mated = {made.rows[probe.row].subject for probe in plan.probes if probe.mated}
        photos = {row.subject for row in made.rows if row.source != sources[row.subject]}
        assert mated == photos, condition


def test_a_missing_archive_is_refused_in_one_line(tmp_path: Path, bundle_dir: Path, shared: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    asked = [str(tmp_path / "set"), "--lfw", str(tmp_path / "none.tar"), "--models", str(shared / "models")]
    answer = CliRunner().invoke(app, [*asked, "--bundle", str(bundle_dir)])
    assert answer.exit_code == 2
    assert "none.tar" in answer.stderr
    assert "Traceback" not in answer.output
