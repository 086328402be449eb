"""The stand-in's set, and what its trunk and tasks refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from faces.types import Spectrum
from training.data.lfw import Identity, Photo, Split, split_of
from training.data.records import DataSetError
from training.methods.build import TaskConfig, build_task
from training.methods.contrast import ContrastConfig
from training.methods.plain import PlainConfig
from training.networks.backbone import BackboneConfig
from training.networks.torch_encoder import load_checkpoint_encoder
from training.research.standin.build import Plan, build, plan_jobs
from training.views.set_builder import ViewAssets

SIDE_PX = 32
BACKBONE = BackboneConfig(side_px=SIDE_PX, dimension=32, width=0.125)


def test_a_broken_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "half.pt"
    path.write_bytes(b"PK nothing")
    with pytest.raises(DataSetError, match=r"half\.pt is no encoder"):
        load_checkpoint_encoder(path)


def test_a_task_without_its_class_means_or_templates_is_refused() -> None:
    def made(task: TaskConfig) -> None:
        build_task(task, BACKBONE.build(), dimension=32, classes=8, batch=4, seed=0)

    with pytest.raises(ValueError, match="class means"):
        made(TaskConfig(method=PlainConfig(class_means=True)))
    with pytest.raises(ValueError, match="templates"):
        made(TaskConfig(method=ContrastConfig(), distil=1))


def test_the_first_photo_of_a_held_out_subject_is_its_reference() -> None:
    names = [f"Person_{i}" for i in range(40)]
    people = [Identity(n, tuple(Photo(f"lfw/{n}/{k}", b"") for k in range(5))) for n in names]
    people.append(Identity("Alone", (Photo("lfw/Alone/0", b""),)))
    jobs = plan_jobs(people, Plan(train_photos=3, probes=2))
    assert "Alone" not in {job.subject for job in jobs}
    for name in names:
        mine = [job for job in jobs if job.subject == name]
        roles = [job.role for job in mine]
        assert roles == (["none"] * 3 if split_of(name) is Split.TRAIN else ["gallery", "probe", "probe"])


def test_a_set_alike_training_has_test_subjects_alone() -> None:
    people = [Identity(f"Person_{i}", tuple(Photo(f"{i}/{k}", b"") for k in range(3))) for i in range(40)]
    jobs = plan_jobs(people, Plan(alike=True))
    wanted = {one.name for one in people if split_of(one.name) is Split.TEST}
    assert {job.subject for job in jobs} == wanted
    assert {(job.split, job.alike) for job in jobs} == {("test", True)}
    # The same photos in the same parts as in the stand-in itself.
    whole = [job for job in plan_jobs(people, Plan()) if job.split == "test"]
    assert [(job.photo.name, job.role) for job in jobs] == [(job.photo.name, job.role) for job in whole]


@pytest.mark.slow
@pytest.mark.realdata
def test_training_and_test_subjects_share_no_generator_and_no_mask(
    shared: Path, bundle_dir: Path, tmp_path: Path
) -> None:
    """Two subjects of each split, from real photos."""
    made = build(
        shared / "data" / "lfw.tar",
        tmp_path,
        ViewAssets(bundle=bundle_dir, models=shared / "models"),
        plan=Plan(subjects=2, train_photos=2, probes=1),
        workers=1,
    )
    assert {row.subject for row in made.rows if row.role == "gallery"} == {
        row.subject for row in made.rows if row.role == "probe"
    }
    by_split: dict[str, set[str | None]] = {}
    for row in made.rows:
        if row.generator:
            by_split.setdefault(row.split, set()).add(row.generator)
        if row.spectrum is Spectrum.NIR:
            assert np.ptp(made.crop(made.rows.index(row)), axis=2).max() == 0
    assert by_split["train"] == by_split["validation"] == {"train-nir-1"}
    assert by_split["test"] == {"relit-nir-1"}
    worn = {(row.split == "test", row.mask.split()[0]) for row in made.rows if row.mask}
    kept_for_tests = ("seam", "fold", "KN95", "surgical_green")
    assert {held_out for held_out, _ in worn} == {False, True}
    assert all(name.startswith(kept_for_tests) == held_out for held_out, name in worn)
    alike = build(
        shared / "data" / "lfw.tar",
        tmp_path / "alike",
        ViewAssets(bundle=bundle_dir, models=shared / "models"),
        plan=Plan(subjects=2, probes=1, alike=True),
        workers=1,
    )
    assert {row.split for row in alike.rows} == {"test"}
    assert {row.generator for row in alike.rows if row.generator} == {"train-nir-1"}
    assert not any((row.mask or "").startswith(kept_for_tests) for row in alike.rows)
