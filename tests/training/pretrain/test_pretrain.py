"""Pre-training: photos by subject, masks from rows or drawn, a loss that falls, bit-equal resumption."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from faces.align import ALIGNMENTS
from faces.types import Spectrum
from training.__main__ import app
from training.data.prepared import Row, SetInfo, Split
from training.data.records import DataSetError
from training.data.set_writer import SetWriter
from training.engine.loop import LAST, LOG
from training.engine.prefetch import prefetch_map
from training.engine.recipe_file import RecipeError, read_recipe
from training.methods.losses import LossConfig
from training.networks.checkpoint import load_network, save_encoder
from training.networks.imported import ImportedNet
from training.pretrain.photo_loader import LabelledBatch, PhotoLoader
from training.pretrain.photos import NONE, Photos, check_alignment, read_photos
from training.pretrain.recipe import FeedConfig, PretrainRecipe
from training.pretrain.run import ENCODER, PretrainRun, RunOptions
from training.pretrain.task import Classify

SIDE_PX = 112
RECIPE = """
[backbone]
side_px = 32
dimension = 16
width = 0.125
[loss]
name = "am"
scale = 16
margin = 0.1
[feed]
batch = 8
[loop]
iterations = 24
lr = 0.1
save_every = 8
log_every = 1
"""


def photo_set(
    root: Path, *, subjects: int = 6, photos: int = 4, worn: bool = True, landmarks: bool = True
) -> Path:
    """Subjects are coarse patterns, photos noisy views of them; masked crops are black below the middle.

    A NIR photo, a test subject and a subject with one photo are there too. Subject 0's last photo has no
    masked crop, subject 1's last has no other.
    """
    rng = np.random.default_rng(0)
    info = SetInfo(name="tiny", alignment="arcface-112", side_px=SIDE_PX, made_by="a test")
    writer = SetWriter(root, info)
    points = ALIGNMENTS["arcface-112"].points if landmarks else None

    def add(name: str, photo: int, pattern: np.ndarray, **facts: object) -> None:
        split: Split = "test" if name == "stranger" else "train"
        row = Row.model_validate(
            {
                "source": f"{name}/{photo}.png",
                "subject": name,
                "spectrum": Spectrum.VIS,
                "split": split,
                "landmarks": points,
                **facts,
            }
        )
        seen = np.clip(pattern + rng.normal(0, 12, pattern.shape), 1, 255).astype(np.uint8)
        if row.masked:
            seen[SIDE_PX // 2 :] = 0
        writer.add(row, seen)

    for name in (*(f"s{i}" for i in range(subjects)), "once", "stranger"):
        pattern = rng.uniform(60, 250, (4, 4, 3)).repeat(SIDE_PX // 4, 0).repeat(SIDE_PX // 4, 1)
        for photo in range(1 if name == "once" else photos):
            last = photo == photos - 1
            if not (worn and name == "s1" and last):
                add(name, photo, pattern)
            if worn and not (name == "s0" and last):
                add(name, photo, pattern, masked=True)
        add(name, 99, pattern, spectrum=Spectrum.NIR)
    writer.close()
    return root


@pytest.fixture(scope="module")
def with_masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return photo_set(tmp_path_factory.mktemp("set") / "masked")


def recipe(tmp_path: Path, *overrides: str) -> PretrainRecipe:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return read_recipe(PretrainRecipe, str(path), overrides)


def feed(photos: Photos, **options: object) -> PhotoLoader:
    return PhotoLoader(photos, FeedConfig.model_validate({"batch": 8, **options}), side_px=SIDE_PX, seed=0)


def place(out: Path, **options: object) -> RunOptions:
    return RunOptions(out=out, device=torch.device("cpu"), **options)  # type: ignore[arg-type]


def test_photos_are_vis_sources_of_training_subjects(with_masks: Path) -> None:
    found = read_photos(with_masks)
    assert found.subjects == ("s0", "s1", "s2", "s3", "s4", "s5", "once")
    assert np.bincount(found.label).tolist() == [4] * 6 + [1]
    assert int((found.worn == NONE).sum()) == int((found.plain == NONE).sum()) == 1
    several = read_photos(with_masks, min_photos=2)
    assert several.subjects == found.subjects[:-1]
    with pytest.raises(DataSetError, match="no photo is left"):
        read_photos(with_masks, min_photos=5)
    with pytest.raises(DataSetError, match="no finished prepared set"):
        read_photos(with_masks / "none")


def test_a_crop_of_the_same_template_is_accepted_in_any_size(with_masks: Path) -> None:
    found = read_photos(with_masks)
    check_alignment(found, "arcface-144")
    with pytest.raises(DataSetError, match="aligned to"):
        check_alignment(found, "oval-99")


@pytest.mark.parametrize(("p_mask", "least", "most"), [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.5, 0.3, 0.7)])
def test_masked_rows_are_drawn_as_often_as_asked(
    with_masks: Path, p_mask: float, least: float, most: float
) -> None:
    found = read_photos(with_masks)
    both = found.keep((found.plain != NONE) & (found.worn != NONE))
    made = feed(both, p_mask=p_mask, grey=0.0)
    assert made.masks == ("rows" if p_mask else "none")
    lower = torch.cat([made.batch(i).images[:, :, 80:, :].amax(dim=(1, 2, 3)) for i in range(20)])
    # A masked crop is black there; gain and offset lift it to -.65 at most.
    assert least <= float((lower < -0.6).float().mean()) <= most


def test_without_masked_rows_masks_are_drawn_or_refused(tmp_path: Path) -> None:
    found = read_photos(photo_set(tmp_path / "plain", worn=False))
    plain, worn = feed(found, p_mask=0.0), feed(found, p_mask=1.0)
    assert worn.masks == "drawn"
    rows = found.plain[worn.chosen(3)]
    crops = worn._seen(worn.chosen(3), np.random.default_rng(0))
    same = (crops == found.shards.crops(rows)).all(axis=3)
    assert same[:, :30].all()
    assert not same[:, 80:100, 40:70].any()
    assert torch.equal(plain.batch(3).label, worn.batch(3).label)
    bare = read_photos(photo_set(tmp_path / "bare", worn=False, landmarks=False))
    with pytest.raises(DataSetError, match="--masks all"):
        feed(bare, p_mask=0.1)
    assert feed(bare, p_mask=0.0).masks == "none"


def test_each_round_draws_every_photo_or_every_subject_once(with_masks: Path) -> None:
    found = read_photos(with_masks)
    by_photo = feed(found, batch=5)
    seen = np.concatenate([by_photo.chosen(i) for i in range(5)])
    assert sorted(seen.tolist()) == list(range(25))
    by_subject = feed(found, batch=14, sampling="subjects")
    labels = found.label[np.concatenate([by_subject.chosen(i) for i in range(10)])]
    assert np.bincount(labels).tolist() == [20] * 7


def test_batches_come_in_order_with_several_threads(with_masks: Path) -> None:
    made = feed(read_photos(with_masks))
    several = list(prefetch_map(made.batch, range(2, 12), workers=3))
    assert [b.iteration for b in several] == list(range(2, 12))
    for batch in several:
        assert torch.equal(batch.images, made.batch(batch.iteration).images)
    with pytest.raises(IndexError):
        list(prefetch_map([0, 1].__getitem__, range(3), workers=2))


def test_the_loss_falls_and_the_encoder_tells_subjects_apart(with_masks: Path, tmp_path: Path) -> None:
    photos = read_photos(with_masks, min_photos=2)
    run = PretrainRun(recipe(tmp_path, "loop.iterations=80"), photos, place(tmp_path / "out"))
    record = run.go()
    lines = [json.loads(line) for line in (tmp_path / "out" / LOG).read_text().splitlines()]
    losses = [line["loss"] for line in lines]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    assert np.mean([line["first"] for line in lines[-10:]]) > 0.6
    assert record.finished
    assert record.images_seen == 80 * 8
    net, config = load_network(tmp_path / "out" / ENCODER)
    assert config.dimension == 16
    assert sum(p.numel() for p in net.parameters()) > 0


def test_a_run_in_two_parts_is_bit_equal_to_one(with_masks: Path, tmp_path: Path) -> None:
    photos, asked = read_photos(with_masks), recipe(tmp_path)
    whole = PretrainRun(asked, photos, place(tmp_path / "whole"))
    whole.go()

    class Killed(Exception):
        pass

    def kill(done: int, _loss: float) -> None:
        if done == 19:
            raise Killed

    with pytest.raises(Killed):
        PretrainRun(asked, photos, place(tmp_path / "parts", workers=3)).go(kill)
    rest = PretrainRun(asked, photos, place(tmp_path / "parts"))
    assert rest.resumed
    assert rest.training.iteration == 16
    rest.go()
    for (name, a), b in zip(
        whole.training.task.state_dict().items(), rest.training.task.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    other = recipe(tmp_path, "feed.p_mask=0.9")
    with pytest.raises(DataSetError, match="another recipe"):
        PretrainRun(other, photos, place(tmp_path / "parts"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("feed.p_masc=0.5", "feed.p_masc: unknown key"),
        ("loop.epochs=3", "loop.epochs: unknown key"),
        ("feed.p_mask=1.5", "less than or equal to 1"),
        ("loss.name=triplet", "softmax, am or arc"),
    ],
)
def test_a_wrong_key_or_value_is_an_error(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(tmp_path, override)


def test_a_wrong_key_in_the_file_is_named_with_it(tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text(RECIPE + "\n[distill]\nweight = 1\n")
    result = CliRunner().invoke(
        app, ["pretrain", str(tmp_path), str(tmp_path / "out"), "--recipe", str(tmp_path / "odd.toml")]
    )
    assert result.exit_code == 2
    assert "odd.toml, distill: unknown key" in result.output
    assert not (tmp_path / "out").exists()


PRETRAINING = ("pretrain-ms1m", "pretrain-ir50", "pretrain-paper", "pretrain-paper-ir50")


@pytest.mark.parametrize("name", PRETRAINING)
def test_the_committed_recipes_build(name: str) -> None:
    found = read_recipe(PretrainRecipe, name)
    assert found.backbone.dimension == 512
    assert found.backbone.side_px == ALIGNMENTS[found.backbone.alignment].side_px
    # The paper's trunk has seen neither masks nor grey pictures.
    assert bool(found.feed.p_mask) == bool(found.feed.grey) == ("paper" not in name)
    if "paper" in name:
        assert found.backbone.side_px == 144
    with torch.device("meta"):
        assert sum(p.numel() for p in found.backbone.build().parameters()) > 1e6


def test_many_subjects_need_no_dense_mask() -> None:
    """The gradient of 20 000 classes is that of a loss written out for three rows."""
    torch.manual_seed(0)
    task = Classify(
        torch.nn.Flatten(), LossConfig(name="am", scale=64, margin=0.35), dimension=12, classes=20_000
    )
    photos = torch.randn(3, 3, 2, 2)
    label = torch.tensor([5, 19_999, 0])
    outcome = task(LabelledBatch(0, photos, label))
    rows = torch.nn.functional.normalize(photos.flatten(1))
    cosine = rows @ torch.nn.functional.normalize(task.head.weight).T
    cosine[torch.arange(3), label] -= 0.35
    want = torch.nn.functional.cross_entropy(64 * cosine, label)
    assert float(outcome.loss.detach()) == pytest.approx(float(want.detach()), rel=1e-5)
    (mine,) = torch.autograd.grad(outcome.loss, task.head.weight)
    (theirs,) = torch.autograd.grad(want, task.head.weight)
    assert torch.allclose(mine, theirs, atol=1e-6)


def test_margins_stay_exact_in_mixed_precision(with_masks: Path, tmp_path: Path) -> None:
    """A photo that lies on its class weight has a finite gradient under Arc, which bfloat16 rounds away."""
    torch.manual_seed(0)
    task = Classify(torch.nn.Flatten(), LossConfig(name="arc"), dimension=12, classes=4)
    photos = task.head.weight.detach().reshape(4, 3, 2, 2).clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        outcome = task(LabelledBatch(0, photos, torch.arange(4)))
    (gradient,) = torch.autograd.grad(outcome.loss, photos)
    assert bool(gradient.isfinite().all())
    mixed = recipe(tmp_path, "loop.bf16=true", "loop.iterations=3")
    PretrainRun(mixed, read_photos(with_masks), place(tmp_path / "out")).go()


def test_a_bundle_serves_as_teacher_and_as_start(with_masks: Path, tmp_path: Path, bundle_dir: Path) -> None:
    photos = read_photos(with_masks)
    asked = recipe(tmp_path, "distil=1.0", "loop.iterations=8")
    out = tmp_path / "taught"
    with pytest.raises(DataSetError, match="--teacher"):
        PretrainRun(asked, photos, place(out))
    run = PretrainRun(asked, photos, place(out, teacher=bundle_dir))
    kept = (out / "teacher" / "teacher-00000.npy").stat().st_mtime_ns
    run.go()
    lines = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    assert lines[-1]["away"] < lines[0]["away"]
    PretrainRun(asked, photos, place(out, teacher=bundle_dir))
    assert (out / "teacher" / "teacher-00000.npy").stat().st_mtime_ns == kept
    fewer = photos.keep(photos.label > 0)
    (out / "run.json").unlink()
    with pytest.raises(DataSetError, match="another teacher or set"):
        PretrainRun(asked, fewer, place(out, teacher=bundle_dir))
    wide = recipe(tmp_path, "backbone.dimension=512", "loop.iterations=1", "loop.lr=0.001")
    begun = PretrainRun(wide, photos, place(tmp_path / "begun", start=bundle_dir))
    assert isinstance(begun.training.task.encoder, ImportedNet)
    assert begun.recipe.backbone.dimension == 512
    begun.go()
    assert isinstance(load_network(tmp_path / "begun" / ENCODER)[0], ImportedNet)


def test_training_starts_from_a_checkpoint(with_masks: Path, tmp_path: Path) -> None:
    photos, asked = read_photos(with_masks), recipe(tmp_path, "loop.iterations=2")
    net = asked.backbone.build()
    save_encoder(tmp_path / "start.pt", net, asked.backbone)
    run = PretrainRun(asked, photos, place(tmp_path / "a", start=tmp_path / "start.pt"))
    for name, value in net.state_dict().items():
        assert torch.equal(run.training.task.encoder.state_dict()[name], value)
    run.go()
    again = PretrainRun(asked, photos, place(tmp_path / "b", start=tmp_path / "a" / LAST))
    for name, value in run.training.task.encoder.state_dict().items():
        assert torch.equal(again.training.task.encoder.state_dict()[name], value)


@pytest.mark.slow
def test_the_command_under_torchrun_learns_one_network(with_masks: Path, tmp_path: Path) -> None:
    """Two processes share each batch; both end with the weights that were written."""
    (tmp_path / "tiny.toml").write_text(RECIPE)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "training", "pretrain", str(with_masks), str(tmp_path / "out")]
    command += ["--recipe", str(tmp_path / "tiny.toml"), "--set", "loop.iterations=6", "--workers", "1"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "6 iterations, 48 images" in done.stdout
    assert done.stdout.count("iterations") == 1
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["processes"] == 2
    assert len((tmp_path / "out" / LOG).read_text().splitlines()) == 6
