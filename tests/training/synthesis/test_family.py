"""Tests the rendered family: exact landmarks, one row per picture, interrupted runs."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from faces.align import ALIGNMENTS
from faces.types import Box, Face, Image, Spectrum
from training.cli.rendered_family import rendered_family as family_command
from training.data.prepared import PreparedSet, read_prepared
from training.synthesis.rendered import pictures
from training.synthesis.rendered.draw import draw_view
from training.synthesis.rendered.family import render_family
from training.synthesis.rendered.model import FaceModel, Part, load_model
from training.synthesis.rendered.pictures import Views, five_landmarks
from training.synthesis.rendered.render import landmarks, render
from training.synthesis.rendered.samples import population

VIEWS = Views(vis=1, nir=1, nir_masked=1)
SIZE = 64


@pytest.fixture(scope="module")
def model(shared: Path) -> FaceModel:
    return load_model(shared / "data" / "ict_facekit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("family")


@pytest.fixture(scope="module")
def family(folder: Path, model: FaceModel) -> PreparedSet:
    return make(folder, model)


def make(
    folder: Path, model: FaceModel, *, subjects: int = 2, detector: Nobody | Corner | None = None
) -> PreparedSet:
    return render_family(
        folder,
        model,
        subjects=subjects,
        views=VIEWS,
        seed=5,
        size_px=SIZE,
        detector=detector,
        workers=1,
        show_progress=False,
    )


class Nobody:
    """A detector that sees no face in NIR."""

    def faces(self, image: Image) -> tuple[Face, ...]:
        if image.spectrum is Spectrum.NIR:
            return ()
        return (Face(Box(0, 0, 60, 60), ((20, 25), (40, 25), (30, 35), (23, 45), (37, 45)), 0.9),)


class Corner:
    """A detector whose face is far too small to align."""

    def faces(self, image: Image) -> tuple[Face, ...]:
        return (Face(Box(0, 0, 3, 3), ((1, 1), (2, 1), (1.5, 1.5), (1, 2), (2, 2)), 0.9),)


@pytest.mark.realdata
def test_every_row_has_its_own_picture(family: PreparedSet, folder: Path) -> None:
    assert len(family.rows) == 6
    assert not family.refused
    assert len({row.source for row in family.rows}) == 6
    assert len({row.subject for row in family.rows}) == 2
    for row in family.rows:
        assert (folder / row.source).is_file()
        assert row.generator == pictures.GENERATOR
        assert row.role == ("gallery" if row.spectrum is Spectrum.VIS else "probe")
        assert row.masked == (row.mask is not None)
    assert len(family.select(spectrum=Spectrum.NIR, masked=True)) == 2
    assert family.info.synthetic is not None
    assert str(folder) not in family.info.model_dump_json()


@pytest.mark.realdata
def test_crops_are_aligned_and_near_infrared_is_grey(family: PreparedSet) -> None:
    template = np.array(ALIGNMENTS["arcface-112"].points)
    for index, row in enumerate(family.rows):
        crop = family.crop(index)
        assert crop.shape == (112, 112, 3)
        grey = np.ptp(crop.astype(int), axis=2).max() == 0
        assert grey == (row.spectrum is Spectrum.NIR)
        assert row.landmarks is not None
        assert np.abs(np.array(row.landmarks) - template).max() < 9.0


@pytest.mark.realdata
def test_a_second_run_renders_nothing(
    family: PreparedSet, folder: Path, model: FaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr(pictures, "render", refuse)
    again = make(folder, model)
    assert again.rows == family.rows
    assert np.array_equal(again.crops(range(6)), family.crops(range(6)))


@pytest.mark.realdata
def test_only_a_deleted_subject_is_rendered_again_with_equal_pixels(
    family: PreparedSet, folder: Path, model: FaceModel
) -> None:
    before = family.crops(range(6))
    lost = folder / Path(family.rows[0].source).parent
    kept = folder / Path(family.rows[3].source)
    stamp = kept.stat().st_mtime_ns
    (lost / "facts.json").unlink()
    assert np.array_equal(make(folder, model).crops(range(6)), before)
    assert kept.stat().st_mtime_ns == stamp


@pytest.mark.realdata
def test_pictures_without_a_detected_face_are_refused(
    family: PreparedSet, folder: Path, model: FaceModel
) -> None:
    unseen = make(folder, model, detector=Nobody())
    assert len(unseen.rows) == 2
    assert {refused.code for refused in unseen.refused} == {"no_face"}
    assert {refused.role for refused in unseen.refused} == {"probe"}
    small = make(folder, model, detector=Corner())
    assert not small.rows
    assert [refused.code for refused in small.refused] == ["too_small"] * 6
    make(folder, model)


@pytest.mark.realdata
def test_projected_landmarks_lie_on_the_rendered_face(model: FaceModel) -> None:
    (subject,) = population(model, subjects=1, seed=5)
    view = draw_view(np.random.default_rng(3), Spectrum.VIS, size_px=128)
    marks = landmarks(subject, view, model)
    assert marks.shape == (68, 2)
    first, second, nose, left, right = five_landmarks(marks)
    assert first[0] < nose[0] < second[0]
    assert left[0] < right[0]
    assert max(first[1], second[1]) < nose[1] < min(left[1], right[1])
    # Lips are the reddest skin: where the landmarks say the mouth is, it is redder than the chin.
    pixels = render(subject, view, model).astype(np.float32)
    redness = cv2.GaussianBlur(pixels[..., 2] / (pixels[..., 1] + 1), (0, 0), 1.0)
    mouth, chin = marks[[50, 52, 56, 58]].mean(axis=0), marks[[57, 8]].mean(axis=0)
    assert redness[round(mouth[1]), round(mouth[0])] > redness[round(chin[1]), round(chin[0])]
    assert Part.SKIN in model.parts


@pytest.mark.realdata
def test_a_longer_plan_begins_with_the_shorter_one(model: FaceModel, tmp_path: Path) -> None:
    short, long = (
        pictures.plan(tmp_path, model, subjects=count, views=VIEWS, seed=5, size_px=SIZE) for count in (2, 4)
    )
    assert long[:2] == short
    seeds = [view.seed for job in long for _, view in job.views]
    assert len(set(seeds)) == len(seeds)
    other = pictures.plan(tmp_path, model, subjects=2, views=VIEWS, seed=6, size_px=SIZE)
    assert {job.subject.identity for job in other}.isdisjoint(job.subject.identity for job in short)
    assert {job.folder for job in other}.isdisjoint(job.folder for job in short)


def command() -> typer.Typer:
    app = typer.Typer()
    app.command("rendered-family")(family_command)
    return app


@pytest.mark.realdata
def test_the_command_makes_a_set_and_prints_its_counts(shared: Path, tmp_path: Path) -> None:
    options = ["--facekit", str(shared / "data" / "ict_facekit"), "--subjects", "1", "--vis", "1"]
    options += ["--nir", "0", "--nir-masked", "1", "--size", "64", "--workers", "1", "--split", "train"]
    result = CliRunner().invoke(command(), [str(tmp_path / "set"), *options])
    assert result.exit_code == 0, result.output
    assert "2 crops of 1 rendered subjects, 0 refused" in result.output
    assert {row.split for row in read_prepared(tmp_path / "set").rows} == {"train"}


def test_the_command_names_a_wrong_option(tmp_path: Path) -> None:
    wrong = CliRunner().invoke(command(), [str(tmp_path), "--facekit", str(tmp_path), "--split", "exam"])
    assert wrong.exit_code == 2
    missing = CliRunner().invoke(command(), [str(tmp_path), "--facekit", str(tmp_path)])
    assert missing.exit_code == 2
    # The message is framed and broken at the terminal's width.
    assert "ict_facekit_light.npz" in re.sub(r"[\s│]", "", missing.output)


def test_views_list_kind_and_number_of_every_picture() -> None:
    assert Views(vis=1, nir=0, nir_masked=2).names() == (("vis", 0), ("nir_masked", 0), ("nir_masked", 1))
    with pytest.raises(ValueError, match="at least one view"):
        Views(vis=0, nir=0, nir_masked=0)


@pytest.mark.slow
def test_two_processes_render_the_same_pixels_as_one(model: FaceModel, tmp_path: Path) -> None:
    drawn = []
    for workers in (1, 2):
        root = tmp_path / str(workers)
        jobs = pictures.plan(
            root, model, subjects=2, views=Views(vis=1, nir=0, nir_masked=0), seed=5, size_px=SIZE
        )
        assert sum(1 for _ in pictures.render_jobs(jobs, model, workers=workers)) == 2
        drawn.append(
            {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        )
    assert len(drawn[0]) == 4
    assert drawn[0] == drawn[1]
