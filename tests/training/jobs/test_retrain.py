"""Tests the training side of a retraining: sets, decision, budgets, and that a killed job resumes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from faces.rates.metrics import supports_fmr
from faces.rates.rank1 import SubjectCounts
from faces.types import Condition, Spectrum
from service.jobs.job_files import LOG, read_progress, read_result
from tests.conftest import REPO
from tests.training.jobs.retrain_sets import request_for, write_request, write_set
from training.data.prepared import PreparedSet
from training.jobs.calibration_set import calibration_set
from training.jobs.comparison import verdict
from training.jobs.job_directory import ORPHANED, JobFailed, open_job
from training.jobs.request import RetrainRequest
from training.jobs.sets import build_sets, needed_subjects, supported_fmr
from training.jobs.train import preset_recipe, train
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import load_network, save_encoder
from training.networks.shared_encoder import SharedEncoder

SUBJECTS = np.arange(100)
PROBES = np.full(100, 2)
# Other work on the machine may make this slow; nothing here depends on the time it takes.
WAIT_S = 1200.0


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other stand still on a machine that is busy with something else."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def patterns(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    return write_set(tmp_path_factory.mktemp("patterns") / "set")


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network at random weights."""
    torch.manual_seed(0)
    config = BackboneConfig(side_px=48, dimension=64, width=0.25)
    path = tmp_path_factory.mktemp("trunk") / "trunk.pt"
    save_encoder(path, config.build(), config)
    return path


def asked(patterns: PreparedSet, trunk: Path, **changed: object) -> RetrainRequest:
    return RetrainRequest.model_validate(
        request_for(patterns.root, trunk=trunk, base=Path("base"), **changed)
    )


def counts(share: float) -> SubjectCounts:
    """So many of each subject's two probes, on average."""
    rng = np.random.default_rng(3)
    return SubjectCounts(SUBJECTS, rng.binomial(2, share, len(SUBJECTS)), PROBES)


def test_needed_subjects_and_supported_fmr_agree_with_supports_fmr() -> None:
    for fmr in (0.2, 1e-2, 1e-3):
        count = needed_subjects(fmr)
        assert supports_fmr(count, fmr)
        assert not supports_fmr(count - 1, fmr)
    for subjects in (12, 24, 77):
        assert supports_fmr(subjects, supported_fmr(subjects))
        assert not supports_fmr(subjects, supported_fmr(subjects) * 0.9)


def test_training_and_validation_share_no_subject(tmp_path: Path, trunk: Path) -> None:
    prepared = write_set(tmp_path / "set", train=170, validation=0)
    sets = build_sets(asked(prepared, trunk), tmp_path, lambda *_: None)
    by_split = {split: {row.subject for row in sets.train.rows if row.split == split}
                for split in ("train", "validation")}  # fmt: skip
    assert len(by_split["validation"]) == needed_subjects(1e-2)
    assert not by_split["train"] & by_split["validation"]


def test_a_set_with_too_few_subjects_is_refused_and_the_error_names_the_number_needed(
    tmp_path: Path, trunk: Path
) -> None:
    for training, validation in ((100, 0), (10, 20)):
        prepared = write_set(tmp_path / f"set{training}", train=training, validation=validation)
        with pytest.raises(JobFailed, match="78"):
            build_sets(asked(prepared, trunk), tmp_path, lambda *_: None)


def test_a_calibration_set_has_probes_of_every_condition_and_names_the_synthetic_ones(
    patterns: PreparedSet, tmp_path: Path
) -> None:
    made = calibration_set(patterns, tmp_path / "held")
    conditions = {row.condition for row in made.rows if row.role == "probe"}
    assert conditions == {Condition(s, m) for s in Spectrum for m in (False, True)}
    assert made.info.synthetic is not None
    assert "vis-masked" in made.info.synthetic
    assert "nir-masked" not in made.info.synthetic
    assert {row.split for row in made.rows} == {"validation"}
    references = [row.subject for row in made.rows if row.role == "gallery"]
    assert len(references) == len(set(references)) == 80
    shown = {row.source for row in made.rows if row.role == "gallery"}
    assert not shown & {row.source for row in made.rows if row.role == "probe"}
    again = calibration_set(patterns, tmp_path / "held")
    assert again.rows == made.rows


def test_better_means_significantly_better_in_the_deciding_condition_and_worse_in_none() -> None:
    nir, masked = "nir-unmasked", "nir-masked"
    good = verdict({masked: counts(0.9), nir: counts(0.9)}, {masked: counts(0.5), nir: counts(0.9)}, seed=0)
    assert good.better
    assert good.as_metrics()["rank1"][masked]["difference_points"][1] > 0
    level = verdict({masked: counts(0.8)}, {masked: counts(0.8)}, seed=0)
    assert not level.better
    assert "does not lie above 0" in level.reason
    poor = verdict({masked: counts(0.4)}, {masked: counts(0.9)}, seed=0)
    assert not poor.better
    assert "worse with its whole interval" in poor.reason
    traded = verdict({masked: counts(0.9), nir: counts(0.4)}, {masked: counts(0.5), nir: counts(0.9)}, seed=0)
    assert not traded.better
    assert "worse elsewhere: nir-unmasked" in traded.reason


def test_a_recipe_fits_the_number_of_subjects(patterns: PreparedSet, trunk: Path) -> None:
    few = preset_recipe(asked(patterns, trunk), subjects=12)
    many = preset_recipe(asked(patterns, trunk, preset="hsst+distill"), subjects=5000)
    assert few.batch <= 12
    assert few.task.queue % few.batch == 0
    assert (few.task.distil, many.task.distil) == (0.0, 1.0)
    assert (many.batch, many.task.queue) == (64, 128)


def test_adapter_training_does_not_change_the_network(
    patterns: PreparedSet, trunk: Path, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    request = asked(patterns, trunk, preset="adapter", iterations=3)
    made = train(request, patterns, tmp_path, lambda done, total, _: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    before, after = load_network(trunk)[0], load_network(made)[0]
    assert isinstance(after, SharedEncoder)
    for old, new in zip(before.state_dict().values(), after.backbone.state_dict().values(), strict=True):
        assert torch.equal(old, new)
    assert not torch.equal(after.shared, torch.eye(64))


@pytest.mark.parametrize("budget", [{"epochs": 1.5}, {"minutes": 0.02}])
def test_a_resumed_run_keeps_the_iterations_of_its_first_plan(
    patterns: PreparedSet, trunk: Path, tmp_path: Path, budget: dict[str, float]
) -> None:
    totals: list[int] = []
    request = asked(patterns, trunk, **{"iterations": None, **budget})
    train(request, patterns, tmp_path, lambda _, total, __: totals.append(total))
    planned = json.loads((tmp_path / "plan.json").read_text())["iterations"]
    assert totals[-1] == planned
    if "epochs" in budget:
        assert planned == 2
    train(request, patterns, tmp_path, lambda *_: pytest.fail("a finished run is left alone"))


def test_a_set_of_another_alignment_is_refused(patterns: PreparedSet, tmp_path: Path) -> None:
    config = BackboneConfig(side_px=48, dimension=64, width=0.25, alignment="arcface-144")
    save_encoder(tmp_path / "other.pt", config.build(), config)
    with pytest.raises(JobFailed, match="arcface-144"):
        train(asked(patterns, tmp_path / "other.pt"), patterns, tmp_path / "job", lambda *_: None)


def test_a_process_whose_heartbeat_is_old_ends(tmp_path: Path) -> None:
    write_request(tmp_path, {"steps": 1000, "pause_s": 0.1})
    os.utime(tmp_path / "heartbeat", (time.time() - 500,) * 2)
    command = [sys.executable, "-m", "tests.service.jobs.counting", str(tmp_path)]
    done = subprocess.run(command, cwd=REPO, timeout=60, check=False)
    assert done.returncode == ORPHANED
    assert read_result(tmp_path) is None


OUTLIVES = """
import sys, time
from pathlib import Path
from training.jobs.job_directory import open_job
with open_job(Path(sys.argv[1]), orphan_s=0.4):
    pass
time.sleep(2)
"""


def test_the_watch_ends_with_the_job(tmp_path: Path) -> None:
    write_request(tmp_path, {})
    done = subprocess.run([sys.executable, "-c", OUTLIVES, str(tmp_path)], cwd=REPO, timeout=60, check=False)
    assert done.returncode == 0


def test_metrics_that_were_held_back_are_in_the_next_line(tmp_path: Path) -> None:
    write_request(tmp_path, {})
    with open_job(tmp_path) as job:
        assert job is not None
        for done in (1, 2, 3):
            job.report_progress(0.1 * done, "training", metrics={"iterations": done})
        job.report_progress(0.5, "evaluating")
    lines, _ = read_progress(tmp_path, 0)
    assert [(line.stage, line.metrics) for line in lines] == [
        ("training", {"iterations": 1}),
        ("evaluating", {"iterations": 3}),
    ]


def test_a_failure_is_written_as_a_result_without_a_path(tmp_path: Path) -> None:
    for number, (error, expected) in enumerate((
        (JobFailed("too few subjects"), "too few subjects"),
        (ValueError(f"{tmp_path}/secret"), "failed (ValueError)"),
    )):  # fmt: skip
        place = tmp_path / str(number)
        write_request(place, {})
        with pytest.raises(type(error)), open_job(place):
            raise error
        result = read_result(place)
        assert result is not None
        assert result.state == "failed"
        assert expected in result.message
        assert str(tmp_path) not in result.message


@pytest.mark.slow
def test_a_killed_retraining_resumes_and_leaves_a_bundle(
    patterns: PreparedSet, bundle_dir: Path, tmp_path: Path
) -> None:
    job, trunk = tmp_path / "job-1", REPO / "models" / "standin-trunk" / "trunk.pt"
    write_request(job, request_for(patterns.root, trunk=trunk, base=bundle_dir, iterations=30))
    command = [sys.executable, "-m", "training", "retrain", str(job), "--orphan-s", str(WAIT_S)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (tmp_path / LOG).open("w") as log:
        first = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        end = time.monotonic() + WAIT_S
        while not (job / "train" / "last.pt").is_file():
            assert time.monotonic() < end
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert read_result(job) is None
        kept = int(torch.load(job / "train" / "last.pt", weights_only=True)["iteration"])
        _, offset = read_progress(job, 0)
        subprocess.run(command, stdout=log, stderr=log, env=env, check=True, timeout=WAIT_S)
    result = read_result(job)
    assert result is not None
    assert result.state == "succeeded", result.message
    again = [line.metrics["iterations"] for line in read_progress(job, offset)[0] if line.stage == "training"]
    assert min(again) > kept, "the second process began from the start"
    assert json.loads((job / "bundle" / "manifest.json").read_text())["calibration"] is not None
    assert set(result.metrics["rank1"]) == {"nir-unmasked", "nir-masked"}


def test_held_out_subjects_keep_their_second_photo_as_a_probe(tmp_path: Path, trunk: Path) -> None:
    prepared = write_set(tmp_path / "set", train=170, validation=0)
    held = build_sets(asked(prepared, trunk), tmp_path, lambda *_: None).validation
    probes = {row.subject for row in held.rows if row.split == "validation" and row.role == "probe"
              and row.spectrum is Spectrum.VIS}  # fmt: skip
    assert len(probes) == needed_subjects(1e-2)
    made = calibration_set(held, tmp_path / "held")
    assert made.info.synthetic is not None
    assert "probes of vis-masked:" in made.info.synthetic


def test_a_set_without_second_vis_photos_is_refused_before_training(tmp_path: Path, trunk: Path) -> None:
    prepared = write_set(tmp_path / "set", vis_photos=1)
    with pytest.raises(JobFailed, match="second unmasked visible-light photo"):
        build_sets(asked(prepared, trunk), tmp_path, lambda *_: None)
