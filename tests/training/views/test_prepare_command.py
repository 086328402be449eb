"""The prepare command, and the masks on real assets."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from faces.types import Spectrum
from tests.training.data.pictures import aligned_tree, encoded, pairs_tree
from tests.training.data.trees import touch, write_list
from training.cli.prepare import prepare
from training.data.casia import load_casia
from training.data.fold_rows import resolve
from training.data.generic import load_generic
from training.data.prepared import read_prepared
from training.data.records import DataSetError
from training.views.masking import MaskOptions
from training.views.prepare import PrepareOptions, prepare_set
from training.views.prepare_sample import WorkOptions

app = typer.Typer()
app.command()(prepare)


def run(*arguments: str | int | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "160"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def casia_pictures(root: Path, *, eyes: bool) -> None:
    """Rendered subjects laid out as CASIA NIR-VIS 2.0: five trained on, five tested, in every fold."""
    pairs = root.parent / "pairs"
    pairs_tree(pairs, subjects=10)
    lines: dict[str, list[str]] = {}
    for i in range(1, 11):
        for n in (1, 2):
            nir, vis = f"s1\\NIR\\{i:05d}\\{n:03d}.jpg", f"s1\\VIS\\{i:05d}\\{n:03d}.jpg"
            for line, folder in ((nir, "nir"), (vis, "vis")):
                data = (pairs / f"s{i:02d}" / folder / f"{n}.jpg").read_bytes()
                touch(root / line.replace("\\", "/"), data)
            if i <= 5:
                lines.setdefault("nir_train", []).append(nir)
                lines.setdefault("vis_train", []).append(vis)
            else:
                lines.setdefault("nir_probe", []).append(nir)
                lines.setdefault("vis_gallery", []).extend([vis] if n == 1 else [])
    for k in range(1, 11):
        for stem, entries in lines.items():
            write_list(root / "protocols" / f"{stem}_{k}.txt", entries)
    if eyes:
        blank = np.full((480, 640, 3), 90, np.uint8)
        touch(root / "s1/NIR/00006/001.jpg", encoded(blank, ".jpg"))
        touch(root / "s1/NIR/00006/001.jpg.pos", b"280 200 360 204")


def test_a_data_set_with_folds_is_prepared_whole_and_has_the_rows_of_each_fold(
    tmp_path: Path, bundle_dir: Path
) -> None:
    casia_pictures(tmp_path / "casia", eyes=True)
    code, text = run("casia", tmp_path / "casia", tmp_path / "out", "--bundle", bundle_dir, "--workers", 1)
    assert code == 0
    assert "1 eyes" in text
    assert "5 training subjects, officially 357" in text
    prepared = read_prepared(tmp_path / "out")
    assert {row.split for row in prepared.rows} == {"none"}
    for fold in load_casia(tmp_path / "casia").folds():
        rows = resolve(fold, prepared)
        spectra = [prepared.rows[int(i)].spectrum for i in rows.train.made]
        assert spectra.count(Spectrum.NIR) == spectra.count(Spectrum.VIS) == 10
        assert len(rows.gallery.made) == 5
        assert len(rows.probes.made) + len(rows.probes.refused) == 10
    code, text = run("casia", tmp_path / "casia", tmp_path / "out", "--bundle", bundle_dir)
    assert code == 0
    assert "was finished already" in text
    code, text = run("casia", tmp_path / "casia", tmp_path / "out", "--bundle", bundle_dir, "--fold", 1)
    assert code == 2
    assert "--again" in text


def test_one_fold_alone_puts_its_split_into_the_rows(tmp_path: Path, bundle_dir: Path) -> None:
    casia_pictures(tmp_path / "casia", eyes=False)
    arguments = ("casia", tmp_path / "casia", tmp_path / "out", "--bundle", bundle_dir, "--fold", 2)
    masks = ("--masks", "nir", "--engine", "landmarks", "--workers", 1)
    code, text = run(*arguments, *masks)
    assert code == 0
    assert "SYNTHETIC" in text
    prepared = read_prepared(tmp_path / "out")
    assert prepared.info.name == "casia-view2-fold2"
    assert len(prepared.select(split="train", masked=False)) == 20
    assert len(prepared.select(split="test", role="gallery")) == 5
    probes = prepared.select(split="test", role="probe", masked=True)
    assert len(probes) == len(prepared.select(split="test", role="probe", masked=False)) == 10
    code, text = run("casia", tmp_path / "casia", tmp_path / "other", "--bundle", bundle_dir, "--fold", 11)
    assert code == 2
    assert "there is no fold 11" in text


def test_exit_status_is_1_without_a_usable_picture_and_2_for_a_wrong_call(
    tmp_path: Path, bundle_dir: Path
) -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    for name in ("a/vis/1.png", "a/nir/1.png", "b/vis/1.png", "b/nir/1.png"):
        touch(tmp_path / "grey" / name, encoded(grey))
    code, text = run("generic", tmp_path / "grey", tmp_path / "out", "--bundle", bundle_dir)
    assert code == 1
    assert "no picture could be used" in text
    assert "no_face" in text
    code, text = run("casia", tmp_path / "grey", tmp_path / "out2", "--bundle", bundle_dir)
    assert code == 2
    assert "protocols/nir_train_1 is missing" in text
    code, text = run("generic", tmp_path / "grey", tmp_path / "out3", "--bundle", tmp_path / "no bundle")
    assert code == 2
    assert not (tmp_path / "out3" / "set.json").exists()


def test_a_subset_is_prepared_and_missing_files_are_listed(tmp_path: Path, bundle_dir: Path) -> None:
    casia_pictures(tmp_path / "casia", eyes=False)
    (tmp_path / "casia/s1/NIR/00007/002.jpg").unlink()
    code, text = run("casia", tmp_path / "casia", tmp_path / "out", "--bundle", bundle_dir)
    assert code == 2
    assert "nir_probe_1.txt, line 4" in text
    code, text = run("casia", tmp_path / "casia", tmp_path / "out", "--bundle", bundle_dir, "--subset")
    assert code == 0
    missing = [r for r in read_prepared(tmp_path / "out").refused if r.code == "missing"]
    assert [r.source for r in missing] == ["s1/NIR/00007/002.jpg"]


def test_a_seeded_split_is_written_and_its_digest_printed(tmp_path: Path, bundle_dir: Path) -> None:
    pairs_tree(tmp_path / "pairs", subjects=4)
    arguments = ("generic", tmp_path / "pairs", tmp_path / "one", "--bundle", bundle_dir, "--seed", 5)
    code, text = run(*arguments, "--workers", 1)
    assert code == 0
    (fold,) = load_generic(tmp_path / "pairs", seed=5).folds()
    assert f"split generic-seed5: SHA-256 {fold.digest}" in text
    split = tmp_path / "one" / "splits" / "generic-seed5.tsv"
    again = ("generic", tmp_path / "pairs", tmp_path / "two", "--bundle", bundle_dir, "--split", split)
    code, text = run(*again, "--workers", 1)
    assert code == 0
    assert str(fold.digest) in text


def test_no_file_of_the_set_names_a_path_of_the_machine(tmp_path: Path) -> None:
    aligned_tree(tmp_path / "aligned", subjects=2, each=2)
    code, _ = run("ms1m", tmp_path / "aligned", tmp_path / "out", "--masks", "all", "--engine", "landmarks")
    assert code == 0
    for path in (tmp_path / "out").glob("*.json*"):
        assert str(tmp_path) not in path.read_text()


def test_masks_by_split_are_refused_without_a_split(tmp_path: Path, bundle_dir: Path, shared: Path) -> None:
    casia_pictures(tmp_path / "casia", eyes=False)
    source = load_casia(tmp_path / "casia")
    work = WorkOptions(bundle=bundle_dir, masks=MaskOptions(masked="nir", models=shared / "models"))
    with pytest.raises(DataSetError, match="--fold 1"):
        prepare_set(source, tmp_path / "out", PrepareOptions(dataset="test", work=work))


@pytest.mark.realdata
def test_the_mesh_puts_training_masks_on_training_pictures_and_held_out_ones_on_test_pictures(
    tmp_path: Path, bundle_dir: Path, shared: Path
) -> None:
    pairs_tree(tmp_path / "pairs", subjects=4)
    source = load_generic(tmp_path / "pairs")
    masks = MaskOptions(masked="all", models=shared / "models", templates=shared / "data" / "mask_templates")
    work = WorkOptions(bundle=bundle_dir, masks=masks)
    made = prepare_set(source, tmp_path / "out", PrepareOptions(dataset="test", work=work)).found
    masked = [made.rows[int(i)] for i in made.select(masked=True)]
    assert len(masked) + sum(r.masked for r in made.refused) == len(made.select(masked=False)) == 16
    assert len(masked) >= 12
    for row in masked:
        assert row.mask is not None
        assert row.mask.split()[1] == ("held-out" if row.split == "test" else "training")
    assert made.info.synthetic is not None
    for i in made.select(masked=True, spectrum=Spectrum.VIS):
        source_name = made.rows[int(i)].source
        twin = next(j for j, row in enumerate(made.rows) if row.source == source_name and not row.masked)
        change = cv2.absdiff(made.crop(int(i)), made.crop(twin)).astype(float).mean(axis=2)
        assert change[:30].mean() < 1
        assert change[80:100, 44:68].mean() > 5
