"""Preparation gives the same bytes for any workers and after any kill, and lists every refusal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from faces.types import Image, Spectrum
from tests.conftest import REPO
from tests.training.data.pictures import aligned_tree, encoded, noise, pairs_tree
from tests.training.data.trees import touch
from tests.training.processes import running
from training.data.generic import load_generic
from training.data.ms1m import load_ms1m
from training.data.prepared import REFUSED_FILE, read_prepared
from training.data.records import DataSetError
from training.views import prepare as module
from training.views.masking import MaskOptions, through_linear_light
from training.views.parts import KEY_FILE, PARTS, lock_folder
from training.views.prepare import PrepareOptions, prepare_set
from training.views.prepare_sample import Crop, SamplePreparer, Task, WorkOptions, sample_rng

CHILD = """
import sys
from pathlib import Path
from training.views import prepare
from training.data.ms1m import load_ms1m
from training.views.prepare_sample import WorkOptions
prepare.PART_SAMPLES = 8
root, out = Path(sys.argv[1]), Path(sys.argv[2])
options = prepare.PrepareOptions(dataset="test", work=WorkOptions(), workers=int(sys.argv[3]))
prepare.prepare_set(load_ms1m(root), out, options)
"""
LIMIT_S = 60.0


def contents(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_SAMPLES", 8)


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("aligned")
    aligned_tree(root, subjects=20, each=24)
    return root


@pytest.mark.usefixtures("small_parts")
def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(aligned: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    prepare_set(load_ms1m(aligned), whole, PrepareOptions(dataset="test", work=WorkOptions()))
    command = [sys.executable, "-c", CHILD, str(aligned), str(killed), "1"]
    process = subprocess.Popen(command, cwd=REPO, env={**os.environ, "OMP_NUM_THREADS": "1"})
    end = time.monotonic() + LIMIT_S
    while len(list((killed / PARTS).glob("*.npz"))) < 3 and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    parts = sorted((killed / PARTS).glob("*.npz"))
    assert 3 <= len(parts) < 60
    with pytest.raises(DataSetError, match="no finished prepared set"):
        read_prepared(killed)
    kept = {part.name: part.stat().st_mtime_ns for part in parts}
    seen: list[int] = []

    def watch(done: int, _: int) -> None:
        seen.append(done)
        for name, moment in kept.items():
            assert (killed / PARTS / name).stat().st_mtime_ns == moment

    made = prepare_set(
        load_ms1m(aligned), killed, PrepareOptions(dataset="test", work=WorkOptions()), on_part=watch
    )
    assert seen[0] == 8 * len(parts)
    assert seen[-1] == 480
    assert not made.cached
    assert len(made.found.rows) == 480
    assert contents(killed) == contents(whole)


@pytest.mark.usefixtures("small_parts")
def test_a_run_killed_while_it_assembles_goes_on(aligned: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    source = load_ms1m(aligned, max_subjects=2)
    prepare_set(source, whole, PrepareOptions(dataset="test", work=WorkOptions()))

    class KilledError(Exception):
        pass

    def die(done: int, all_: int) -> None:
        if done == all_:
            raise KilledError

    with pytest.raises(KilledError):
        prepare_set(source, cut, PrepareOptions(dataset="test", work=WorkOptions()), on_part=die)
    touch(cut / "shard-00000.npy", b"half a shard")
    touch(cut / "rows.jsonl", b"{")
    prepare_set(source, cut, PrepareOptions(dataset="test", work=WorkOptions()))
    assert contents(cut) == contents(whole)


@pytest.mark.usefixtures("small_parts")
def test_workers_do_not_change_the_set(aligned: Path, tmp_path: Path) -> None:
    source = load_ms1m(aligned, max_subjects=2)
    masks = MaskOptions(masked="all", engine="landmarks")
    work = WorkOptions(masks=masks, seed=4)
    for workers in (1, 2):
        prepare_set(
            source, tmp_path / str(workers), PrepareOptions(dataset="test", work=work, workers=workers)
        )
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    masked = read_prepared(tmp_path / "2").select(masked=True)
    assert len(masked) == 48


def test_workers_end_with_a_killed_parent(aligned: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(aligned), str(tmp_path / "out"), "2"]
    process = subprocess.Popen(command, cwd=REPO, env={**os.environ, "OMP_NUM_THREADS": "1"})
    end = time.monotonic() + LIMIT_S
    while not list((tmp_path / "out" / PARTS).glob("*.npz")) and time.monotonic() < end:
        time.sleep(0.002)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    while any(running(child) for child in children) and time.monotonic() < end:
        time.sleep(0.02)
    assert len(children) >= 2
    assert not [child for child in children if running(child)]


def test_a_finished_set_is_only_read_again(aligned: Path, tmp_path: Path) -> None:
    source, options = load_ms1m(aligned, max_subjects=1), PrepareOptions(dataset="test", work=WorkOptions())
    first = prepare_set(source, tmp_path, options)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir() if p.is_file() and p.name != ".lock"}
    again = prepare_set(source, tmp_path, options)
    assert (first.cached, again.cached) == (False, True)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert not (tmp_path / PARTS).exists()
    assert first.notes.located == {"aligned": 24}


def test_other_options_need_another_folder_or_again(aligned: Path, tmp_path: Path) -> None:
    source, options = load_ms1m(aligned, max_subjects=1), PrepareOptions(dataset="test", work=WorkOptions())
    prepare_set(source, tmp_path, options)
    other = replace(options, work=WorkOptions(alignment="arcface-144"))
    with pytest.raises(DataSetError, match=r"alignment: arcface-112 there, arcface-144 now.*--again"):
        prepare_set(source, tmp_path, other)
    assert read_prepared(tmp_path).info.side_px == 112
    made = prepare_set(source, tmp_path, replace(other, again=True))
    assert made.found.info.alignment == "arcface-144"
    assert made.found.crop(0).shape == (144, 144, 3)
    with pytest.raises(DataSetError, match="samples: "):
        prepare_set(load_ms1m(aligned, max_subjects=2), tmp_path, other)


def test_a_folder_with_other_things_is_left_alone(aligned: Path, tmp_path: Path) -> None:
    touch(tmp_path / "set.json", b"somebody else's")
    for again in (False, True):
        with pytest.raises(DataSetError, match=r"holds other things \(set\.json\)"):
            prepare_set(
                load_ms1m(aligned), tmp_path, PrepareOptions(dataset="test", work=WorkOptions(), again=again)
            )
    assert (tmp_path / "set.json").read_bytes() == b"somebody else's"
    assert not (tmp_path / KEY_FILE).exists()


def test_a_second_run_in_one_folder_is_refused(aligned: Path, tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(DataSetError, match="another prepare is at work"):
        prepare_set(load_ms1m(aligned), tmp_path, PrepareOptions(dataset="test", work=WorkOptions()))


def test_a_damaged_part_is_refused_by_name(aligned: Path, tmp_path: Path) -> None:
    source, options = load_ms1m(aligned, max_subjects=1), PrepareOptions(dataset="test", work=WorkOptions())

    def damage(done: int, all_: int) -> None:
        if done == all_:
            touch(tmp_path / PARTS / "part-000000.npz", b"PK broken")

    with pytest.raises(DataSetError, match=r"part-000000\.npz is damaged: remove it"):
        prepare_set(source, tmp_path, options, on_part=damage)


def test_every_picture_that_cannot_be_used_is_listed(tmp_path: Path, bundle_dir: Path) -> None:
    root = tmp_path / "pairs"
    pairs_tree(root, subjects=3)
    touch(root / "s01" / "vis" / "3.jpg", b"no picture at all")
    touch(root / "s02" / "vis" / "3.png", encoded(noise(3)))
    whole = (root / "s03" / "nir" / "1.jpg").read_bytes()
    touch(root / "s03" / "nir" / "3.jpg", whole[: len(whole) // 2])
    small = cv2.resize(
        cv2.imread(str(root / "s03" / "vis" / "1.jpg")), (48, 48), interpolation=cv2.INTER_AREA
    )
    touch(root / "s03" / "vis" / "4.png", encoded(np.asarray(small, np.uint8)))
    source = load_generic(root)
    (root / "s02" / "nir" / "2.jpg").unlink()
    work = WorkOptions(bundle=bundle_dir, min_inter_eye_px=20)
    made = prepare_set(source, tmp_path / "out", PrepareOptions(dataset="test", work=work))
    codes = {r.source: r.code for r in made.found.refused}
    assert codes == {
        "s01/vis/3.jpg": "undecodable",
        "s02/vis/3.png": "no_face",
        "s02/nir/2.jpg": "missing",
        "s03/nir/3.jpg": "undecodable",
        "s03/vis/4.png": "too_small",
    }
    assert len(made.found.rows) == 11
    assert made.notes.located == {"detected": 11}
    lines = (tmp_path / "out" / REFUSED_FILE).read_text().splitlines()
    assert len(lines) == 5
    assert all(json.loads(line)["detail"] for line in lines)
    (fold,) = source.folds()
    assert made.notes.splits == {fold.name: fold.digest}
    assert (tmp_path / "out" / "splits" / f"{fold.name}.tsv").is_file()
    roles = {row.source: (row.split, row.role) for row in made.found.rows}
    for sample in fold.gallery:
        assert roles.get(str(sample.path), ("test", "gallery")) == ("test", "gallery")


def test_landmarks_lie_where_the_template_wants_them(tmp_path: Path, bundle_dir: Path) -> None:
    pairs_tree(tmp_path / "pairs", subjects=2)
    work = WorkOptions(bundle=bundle_dir, alignment="arcface-144")
    made = prepare_set(
        load_generic(tmp_path / "pairs"), tmp_path / "out", PrepareOptions(dataset="test", work=work)
    )
    assert len(made.found.rows) == 8
    for row in made.found.rows:
        assert row.landmarks is not None
        for point, target in zip(row.landmarks[:2], ((49.2, 66.5), (94.5, 66.2)), strict=True):
            assert point == pytest.approx(target, abs=6)


def test_pictures_that_are_not_aligned_need_a_detector(tmp_path: Path) -> None:
    pairs_tree(tmp_path / "pairs", subjects=2)
    with pytest.raises(DataSetError, match="generic needs a detector: give a bundle"):
        prepare_set(
            load_generic(tmp_path / "pairs"),
            tmp_path / "out",
            PrepareOptions(dataset="test", work=WorkOptions()),
        )


def test_a_sixteen_bit_grey_picture_is_read(tmp_path: Path) -> None:
    root = tmp_path / "deep"
    grey = (noise(5)[:, :, 0].astype(np.uint16) << 4).astype(np.uint16)
    done, data = cv2.imencode(".png", grey)
    assert done
    touch(root / "1" / "1.png", bytes(data))
    made = prepare_set(load_ms1m(root), tmp_path / "out", PrepareOptions(dataset="test", work=WorkOptions()))
    assert np.abs(made.found.crop(0)[:, :, 1].astype(int) - noise(5)[:, :, 0]).max() <= 1


def test_masks_are_put_on_the_source_and_depend_on_seed_and_name_alone(aligned: Path) -> None:
    source = load_ms1m(aligned, max_subjects=1)
    work = WorkOptions(aligned_to="arcface-112", seed=1, masks=MaskOptions(masked="all", engine="landmarks"))
    tasks = [Task(sample, source.place(sample)) for sample in source.samples()[:3]]
    forward = [SamplePreparer(source.reader(), work).prepare(task) for task in tasks]
    preparer = SamplePreparer(source.reader(), work)
    backward = [preparer.prepare(task) for task in reversed(tasks)][::-1]
    other = SamplePreparer(source.reader(), replace(work, seed=2)).prepare(tasks[0])
    for one, two in zip(forward, backward, strict=True):
        for a, b in zip(one, two, strict=True):
            assert isinstance(a, Crop)
            assert isinstance(b, Crop)
            assert np.array_equal(a.pixels, b.pixels)
            assert a.row == b.row
    first, changed = forward[0][1], other[1]
    assert isinstance(first, Crop)
    assert isinstance(changed, Crop)
    assert first.row.masked
    assert first.row.mask != changed.row.mask
    bare = forward[0][0]
    assert isinstance(bare, Crop)
    above, below = slice(0, 40), slice(80, 110)
    assert np.array_equal(first.pixels[above], bare.pixels[above])
    assert np.abs(first.pixels[below, 40:72].astype(int) - bare.pixels[below, 40:72]).mean() > 5
    assert sample_rng(1, "a").random() != sample_rng(1, "b").random()


def test_linear_light_and_back_changes_nothing() -> None:
    every = np.arange(256, dtype=np.uint8)[:, None, None].repeat(3, axis=2)
    image = Image(np.ascontiguousarray(every), Spectrum.VIS)
    assert np.array_equal(through_linear_light(image).pixels, image.pixels)
