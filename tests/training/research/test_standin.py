"""The stand-in benchmark: arms, a run, the choice of a learning rate, the table and the set."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from faces.types import Spectrum
from training.__main__ import app
from training.data.lfw import Identity, Photo, Split, split_of
from training.data.prepared import PreparedSet, Row, SetInfo
from training.data.records import DataSetError
from training.data.set_writer import SetWriter
from training.methods.build import TaskConfig, build_task
from training.methods.contrast import ContrastConfig
from training.methods.hsst import HsstConfig
from training.methods.invariant import InvariantConfig
from training.methods.plain import PlainConfig
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import save_encoder
from training.networks.torch_encoder import load_checkpoint_encoder
from training.research.standin.arms import Arm, arms
from training.research.standin.build import Plan, build, plan_jobs
from training.research.standin.grid import best_rates, results, runs_at_best_rate
from training.research.standin.run import EvaluationSet, RunConfig, run_arm
from training.research.standin.table import comparisons, lines, markdown
from training.views.set_builder import ViewAssets

SIDE_PX = 32
BACKBONE = BackboneConfig(side_px=SIDE_PX, dimension=32, width=0.125)
QUICK = RunConfig(iterations=2, batch=4, lr=0.01)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    """Subjects are stripes of their own frequency; every photo has noise of its own."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("stripes")
    info = SetInfo(name="stripes", alignment="arcface-112", side_px=SIDE_PX, made_by="a test")
    writer, rng = SetWriter(root, info), np.random.default_rng(0)
    for split, count in (("train", 8), ("validation", 4), ("test", 4)):
        for subject in range(count):
            for photo in range(3):
                for spectrum, masked in ((Spectrum.VIS, False), (Spectrum.NIR, False), (Spectrum.NIR, True)):
                    probe = split != "train" and spectrum is Spectrum.NIR and photo > 0
                    gallery = split != "train" and spectrum is Spectrum.VIS and photo == 0
                    if split != "train" and not probe and not gallery:
                        continue
                    row = Row(
                        source=f"{split}{subject}/{photo}",
                        subject=f"{split}{subject}",
                        spectrum=spectrum,
                        masked=masked,
                        split=split,
                        role="probe" if probe else "gallery" if gallery else "none",
                    )
                    wave = np.sin(np.arange(SIDE_PX) * (subject + 1) / 3)[None, :, None]
                    noise = rng.normal(0, 10, (SIDE_PX, SIDE_PX, 3))
                    writer.add(row, np.clip(128 + 90 * wave + noise, 0, 255).astype(np.uint8))
    return writer.close()


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("trunk") / "trunk.pt"
    save_encoder(path, BACKBONE.build(), BACKBONE)
    return path


def evaluation_sets(prepared: PreparedSet) -> list[EvaluationSet]:
    return [EvaluationSet("validation", prepared, "validation"), EvaluationSet("test", prepared, "test")]


def test_the_arms_are_all_baselines_methods_and_controls() -> None:
    names = set(arms(1000))
    assert {"zero-shot", "grey-only", "IDR", "W-CNN", "SST", "in-batch"} <= names
    assert {
        f"{kind} {loss}" for kind in ("plain", "HSST") for loss in ("softmax", "am", "arc", "triplet")
    } <= names
    assert {f"HSST softmax, {mode} BN" for mode in ("joint", "frozen", "dsbn")} <= names
    hsst = arms(1000)["HSST softmax"].task
    assert hsst is not None
    assert isinstance(hsst.method, HsstConfig)
    assert hsst.method.ema == pytest.approx(0.99)


@pytest.mark.parametrize(
    "task",
    [
        TaskConfig(method=HsstConfig(queue=4, ema=0.5)),
        TaskConfig(method=HsstConfig(queue=8, ema=0.5, bn_mode="dsbn"), distil=1.0),
        TaskConfig(method=PlainConfig(class_means=True)),
        TaskConfig(method=ContrastConfig()),
        TaskConfig(method=InvariantConfig(kind="wcnn", shared=24)),
    ],
)
def test_an_arm_is_trained_and_its_encoder_can_be_loaded(
    task: TaskConfig, prepared: PreparedSet, trunk: Path, tmp_path: Path
) -> None:
    teacher = np.eye(len(prepared.rows), 128, dtype=np.float32) + 0.01
    teacher /= np.linalg.norm(teacher, axis=1, keepdims=True)
    steps: list[int] = []
    result = run_arm(
        Arm("one", task),
        prepared,
        trunk,
        QUICK,
        out=tmp_path,
        tests=evaluation_sets(prepared),
        teacher=teacher if task.distil else None,
        on_step=lambda done, _: steps.append(done),
    )
    assert steps == [1, 2]
    assert result == json.loads((tmp_path / "result.json").read_text())
    assert sum(result["found"]["test"]["nir-masked"]["probes"]) == 8
    assert np.isfinite(result["loss"])
    encoder = load_checkpoint_encoder(tmp_path / "encoder.pt")
    rows = prepared.select(split="test", role="probe", spectrum=Spectrum.NIR)
    embedded = encoder.embed(prepared.crops(rows), Spectrum.NIR)
    assert np.allclose(np.linalg.norm(embedded, axis=1), 1.0, atol=1e-5)


def test_grey_only_never_learns_from_near_infrared(
    prepared: PreparedSet, trunk: Path, tmp_path: Path
) -> None:
    """Other NIR pixels do not change its loss."""
    arm = Arm("grey", TaskConfig(method=ContrastConfig()), grey=True)
    losses = []
    for value in (0, 200):
        root = tmp_path / f"set{value}"
        writer = SetWriter(root, prepared.info)
        for i, row in enumerate(prepared.rows):
            crop = prepared.crop(i).copy()
            if row.spectrum is Spectrum.NIR and row.split == "train":
                crop[:] = value
            writer.add(row, crop)
        other = writer.close()
        run = run_arm(arm, other, trunk, QUICK, out=tmp_path / str(value), tests=evaluation_sets(other))
        losses.append(run["loss"])
    assert losses[0] == losses[1]


def test_one_seed_gives_one_result(prepared: PreparedSet, trunk: Path, tmp_path: Path) -> None:
    arm = Arm("again", TaskConfig(method=HsstConfig(queue=4)))
    places = (tmp_path / "once", tmp_path / "again")
    once, again = (
        run_arm(arm, prepared, trunk, QUICK, out=p, tests=evaluation_sets(prepared)) for p in places
    )
    assert once["loss"] == again["loss"]
    assert once["found"] == again["found"]


@pytest.mark.slow
def test_the_command_resumes_and_prints_the_table(prepared: PreparedSet, trunk: Path, tmp_path: Path) -> None:
    # plain+ first: its class means are written before any run's folder is made.
    out = tmp_path / "new"
    words = ["standin", "run", str(prepared.root), str(trunk), str(out)]
    chosen = ["--arm", "plain+ softmax", "--arm", "zero-shot", "--seed", "0", "--lr", "0.001"]
    short = ["--iterations", "2", "--batch", "4", "--workers", "1"]
    first = CliRunner().invoke(app, [*words, *chosen, *short])
    assert first.exit_code == 0, first.output
    before = {place: place.stat().st_mtime_ns for place in out.glob("*/result.json")}
    assert len(before) == 2
    again = CliRunner().invoke(app, [*words, *chosen, *short])
    assert again.exit_code == 0
    assert before == {place: place.stat().st_mtime_ns for place in out.glob("*/result.json")}
    assert "zero-shot" in again.output
    wrong = CliRunner().invoke(app, [*words, "--arm", "nothing"])
    assert wrong.exit_code == 2


def test_the_learning_rate_is_chosen_on_validation(tmp_path: Path) -> None:
    for lr, validation, test in ((0.1, 40.0, 10.0), (0.01, 30.0, 90.0)):
        place = tmp_path / f"arm-{lr}"
        place.mkdir()
        facts = {
            split: {
                condition: {"rank1": rate, "hits": [1], "probes": [1]}
                for condition in ("nir-masked", "nir-unmasked")
            }
            for split, rate in (("validation", validation), ("test", test))
        }
        (place / "result.json").write_text(json.dumps({"arm": "one", "lr": lr, "seed": 0, "found": facts}))
    assert [run["lr"] for run in runs_at_best_rate(results(tmp_path))["one"]] == [0.1]


def run_of(arm: str, lr: float, seed: int, hits: list[int], validation: float) -> dict[str, Any]:
    """A finished run: two subjects with two probes each, equal in both conditions."""
    tried = {"hits": hits, "probes": [2, 2], "rank1": 25.0 * sum(hits)}
    conditions = ("nir-masked", "nir-unmasked")
    found = {
        "validation": {condition: {**tried, "rank1": validation} for condition in conditions},
        "test": dict.fromkeys(conditions, tried),
    }
    return {
        "arm": arm,
        "lr": lr,
        "seed": seed,
        "loss": math.nan if arm == "zero-shot" else 1.0,
        "found": found,
    }


def test_rates_are_compared_on_the_seeds_that_all_of_them_have() -> None:
    runs = [
        run_of("HSST am", 0.1, 0, [2, 2], 50.0),
        run_of("HSST am", 0.01, 0, [0, 0], 40.0),
        run_of("HSST am", 0.1, 1, [1, 1], 0.0),
    ]
    assert best_rates(runs) == {"HSST am": 0.1}
    assert [run["seed"] for run in runs_at_best_rate(runs)["HSST am"]] == [0, 1]


def test_the_table_pairs_each_loss_with_its_plain_arm_of_one_mode() -> None:
    names = [
        "plain+ am",
        "HSST am",
        "HSST am, joint BN",
        "plain+ am, joint BN",
        "HSST triplet",
        "plain triplet",
    ]
    assert comparisons(names, mode="") == {
        "HSST am": "plain+ am",
        "HSST am, joint BN": "plain+ am",
        "HSST triplet": "plain triplet",
    }
    assert comparisons(names, mode="joint")["HSST am"] == "plain+ am, joint BN"


def test_the_table_gives_rates_of_all_seeds_and_paired_differences() -> None:
    runs = [run_of("zero-shot", 0.1, 0, [0, 1], 1.0)]
    runs += [run_of("plain+ am", 0.1, seed, [0, 1], 1.0) for seed in (0, 1)]
    runs += [run_of("HSST am", 0.1, seed, [1, 2], 1.0) for seed in (0, 1)]
    made = {
        one.arm: one for one in lines(runs_at_best_rate(runs), test="test", against={"HSST am": "plain+ am"})
    }
    assert made["zero-shot"].lr is None
    assert made["plain+ am"].rates[0].value == pytest.approx(25.0)
    # Each subject gains one of two probes under both systems' same draw: no spread is left.
    gain = made["HSST am"].gain[0]
    assert (gain.value, gain.low, gain.high) == pytest.approx((50.0, 50.0, 50.0))
    written = markdown(list(made.values()))
    assert "| zero-shot |  | 1 | 25.0 [" in written
    assert "+50.0 [+50.0, +50.0]" in written


def test_finished_runs_are_evaluated_on_another_set(
    prepared: PreparedSet, trunk: Path, tmp_path: Path
) -> None:
    words = [
        "standin", "run", str(prepared.root), str(trunk), str(tmp_path), "--arm", "zero-shot", "--seed", "0",
        "--workers", "1",
    ]  # fmt: skip
    assert CliRunner().invoke(app, words).exit_code == 0
    tried = CliRunner().invoke(app, ["standin", "also", str(prepared.root), str(trunk), str(tmp_path)])
    assert tried.exit_code == 0, tried.output
    (result,) = results(tmp_path)
    assert result["found"]["stripes"] == result["found"]["test"]


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
