"""LAMP-HQ, a user's own pairs, identity folders, LFW's tar, and the registry over them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from faces.types import Spectrum
from tests.training.data.trees import BOM, generic_tree, lamphq_tree, touch, write_list
from training.data.generic import load_generic
from training.data.lamphq import load_lamphq
from training.data.lfw_set import load_lfw
from training.data.loaded import Place
from training.data.ms1m import load_identity_folders, load_ms1m
from training.data.records import DataSetError
from training.data.registry import LOADERS, LoadOptions, load_data_set


@pytest.mark.parametrize("protocols", ["Protocol", "Protocols", "protocols"])
@pytest.mark.parametrize("header", [True, False])
def test_lamphq_reads_labels_and_skips_a_header(tmp_path: Path, protocols: str, header: bool) -> None:
    lamphq_tree(tmp_path, protocols=protocols, header=header)
    folds = load_lamphq(tmp_path).folds()
    assert [fold.name for fold in folds] == ["lamphq-fold1", "lamphq-fold2"]
    for fold in folds:
        assert (len(fold.train), len(fold.gallery), len(fold.probes)) == (20, 2, 6)
        for sample in (*fold.train, *fold.gallery, *fold.probes):
            assert sample.path.parts[:2] == (sample.spectrum.name, f"{int(sample.subject):03d}")
            assert (tmp_path / sample.path).is_file()


def test_lamphq_names_the_wrong_list_or_line(tmp_path: Path) -> None:
    lamphq_tree(tmp_path)
    lists = tmp_path / "Protocol"
    write_list(lists / "test" / "probe_nir1.txt", ["path label", "NIR\\001\\gone.jpg 1"])
    with pytest.raises(DataSetError, match=r"probe_nir1\.txt, line 2: NIR/001/gone\.jpg is not there"):
        load_lamphq(tmp_path)
    write_list(lists / "test" / "probe_nir1.txt", ["path label", "NIR/005/a photo_0.jpg 5", "label path"])
    with pytest.raises(DataSetError, match=r"line 3: expected `path label`"):
        load_lamphq(tmp_path, strict=False)
    write_list(lists / "test" / "probe_nir1.txt", ["NIR/005/a photo_0.jpg 0"])
    with pytest.raises(DataSetError, match=r"train_nir2\.txt, line \d+: .*labels must mean one subject"):
        load_lamphq(tmp_path)
    (lists / "test" / "probe_nir1.txt").unlink()
    with pytest.raises(DataSetError, match=r"probe_nir1\.txt is missing"):
        load_lamphq(tmp_path)


def test_generic_folders_are_split_by_subject(tmp_path: Path) -> None:
    generic_tree(tmp_path)
    loaded = load_generic(tmp_path, seed=3)
    (fold,) = loaded.folds()
    assert len({s.subject for s in fold.train}) == len({s.subject for s in fold.gallery}) == 3
    assert len(loaded.samples()) == 36
    assert {s.path.suffix for s in fold.probes} == {".PNG"}
    assert fold.digest == load_generic(tmp_path, seed=3).folds()[0].digest
    assert len({s.subject for s in load_generic(tmp_path, test_share=1 / 3).folds()[0].probes}) == 2


def test_a_subject_without_a_reference_cannot_be_skipped_silently(tmp_path: Path) -> None:
    generic_tree(tmp_path)
    touch(tmp_path / "zed" / "nir" / "1.png")
    with pytest.raises(DataSetError, match="zed/vis: no VIS picture"):
        load_generic(tmp_path)
    loaded = load_generic(tmp_path, strict=False)
    assert loaded.folds()[0].name == "generic-seed0-subset"
    assert "zed" not in {s.subject for s in (*loaded.folds()[0].train, *loaded.folds()[0].probes)}
    assert any(f.where == "zed/vis" for f in loaded.findings)


MANIFEST = [
    "Subject,path,spectrum,split,role",
    "ann,ann\\1.jpg,VIS,train,",
    "ann,ann/2.bmp,nir,train,none",
    "",
    'bob,"bob/a, b.jpg",vis,test,gallery',
    "bob,bob/2.png,NIR,test,probe",
    "cy,cy/1.jpg,vis,validation,gallery",
    "cy,cy/2.jpg,nir,validation,probe",
]


def manifest_tree(root: Path) -> Path:
    for name in ("ann/1.JPG", "ann/2.png", "bob/a, b.jpg", "bob/2.png", "cy/1.jpg", "cy/2.jpg"):
        touch(root / name)
    return touch(root / "manifest.csv", BOM + "\r\n".join(MANIFEST).encode())


def test_a_manifest_gives_a_test_and_a_validation_fold(tmp_path: Path) -> None:
    manifest_tree(tmp_path)
    loaded = load_generic(tmp_path)
    test, validation = loaded.folds()
    assert [str(s.path) for s in test.train] == ["ann/1.JPG", "ann/2.png"]
    assert test.train == validation.train
    assert [str(s.path) for s in test.gallery] == ["bob/a, b.jpg"]
    assert [(s.subject, s.spectrum) for s in validation.probes] == [("cy", Spectrum.NIR)]
    assert loaded.place(test.probes[0]) == Place("test", "probe")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dee,dee/1.jpg,vis,train,none", r"line 9: dee/1\.jpg is not there"),
        ("dee,ann/1.jpg,red,train,none", "line 9: spectrum"),
        ("dee,ann/1.jpg,vis,training,none", "line 9: split"),
        ("dee,ann/1.jpg,vis,train,none", "line 9: ann/1.JPG is named before"),
        ("dee,ann/1.jpg,vis,train,none,more", "line 9: more fields than columns"),
        ("dee,../1.jpg,vis,train,none", "line 9: .* no path below"),
        (",ann/3.jpg,vis,train,none", "line 9: subject"),
    ],
)
def test_a_wrong_line_of_a_manifest_is_named(tmp_path: Path, line: str, message: str) -> None:
    file = manifest_tree(tmp_path)
    file.write_bytes(file.read_bytes() + b"\r\n" + line.encode())
    with pytest.raises(DataSetError, match=message):
        load_generic(tmp_path)


def test_a_manifests_columns_are_checked(tmp_path: Path) -> None:
    touch(tmp_path / "manifest.csv", b"path,subject,colour\n")
    with pytest.raises(DataSetError, match="line 1: unknown column 'colour'"):
        load_generic(tmp_path)
    touch(tmp_path / "manifest.csv", b"path,subject\n")
    with pytest.raises(DataSetError, match="line 1: no column 'spectrum'"):
        load_generic(tmp_path)


def test_a_manifest_with_lost_pictures_is_a_subset(tmp_path: Path) -> None:
    manifest_tree(tmp_path)
    (tmp_path / "cy/1.jpg").unlink()
    loaded = load_generic(tmp_path, strict=False)
    assert [fold.name for fold in loaded.folds()] == ["generic-test-subset"]
    assert [str(s.path) for s in loaded.absent] == ["cy/1.jpg"]
    assert any("cy has validation probes but no" in f.text for f in loaded.findings)


def test_identity_folders_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("10/2.jpg", "10/10.JPG", "9/1.png", "9/.hidden.jpg", "9/notes.txt"):
        touch(tmp_path / name)
    loaded = load_ms1m(tmp_path)
    assert [str(s.path) for s in loaded.samples()] == ["9/1.png", "10/2.jpg", "10/10.JPG"]
    assert loaded.aligned_to == "arcface-112"
    assert loaded.place(loaded.samples()[0]) == Place("train")
    assert [s.subject for s in load_ms1m(tmp_path, max_subjects=1).samples()] == ["9"]
    assert load_ms1m(tmp_path, max_subjects=3).findings[0].text.startswith("2 identities, fewer than")
    touch(tmp_path / "stray.jpg")
    with pytest.raises(DataSetError, match=r"stray\.jpg: a picture outside"):
        load_identity_folders(tmp_path)
    assert len(load_identity_folders(tmp_path, strict=False).samples()) == 3


def small_lfw(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for name in ("lfw/B_B/B_B_0001.webp", "lfw/A_A/A_A_0001.webp", "lfw/pairs.txt"):
            entry = tarfile.TarInfo(name)
            entry.size = len(name)
            archive.addfile(entry, io.BytesIO(name.encode()))
    return path


def test_lfw_is_read_by_offsets_in_its_tar(tmp_path: Path) -> None:
    tar = small_lfw(tmp_path / "lfw.tar")
    with pytest.raises(DataSetError, match="2 photos of 2 identities, LFW has 13233 of 5749"):
        load_lfw(tar)
    for root in (tar, tmp_path):
        loaded = load_lfw(root, strict=False)
        assert [s.subject for s in loaded.samples()] == ["A_A", "B_B"]
        reader = loaded.reader()
        assert [reader.read(s.path) for s in loaded.samples()] == [
            str(s.path).encode() for s in loaded.samples()
        ]
    (tmp_path / "lfw.tar").write_bytes(b"\x1f\x8b not a plain tar" * 100)
    with pytest.raises(DataSetError, match="no plain tar"):
        load_lfw(tar)
    tar.unlink()
    with pytest.raises(DataSetError, match="is not there"):
        load_lfw(tmp_path)


@pytest.mark.realdata
def test_lfw_has_its_counts_and_split(shared: Path) -> None:
    loaded = load_lfw(shared / "data" / "lfw.tar")
    splits = {s.subject: loaded.place(s).split for s in loaded.samples()}
    counts = {split: sum(v == split for v in splits.values()) for split in ("train", "validation", "test")}
    assert counts == {"train": 3909, "validation": 358, "test": 1482}
    assert loaded.reader().read(loaded.samples()[0].path)[:4] == b"RIFF"


def test_the_registry_refuses_unknown_names_and_unwanted_splits(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="'imagenet' is no data set: choose from casia"):
        load_data_set("imagenet", tmp_path)
    with pytest.raises(DataSetError, match="casia has its own protocol"):
        load_data_set("casia", tmp_path, LoadOptions(split=tmp_path / "x.tsv"))
    with pytest.raises(DataSetError, match="no such folder"):
        load_data_set("buaa", tmp_path / "gone")
    generic_tree(tmp_path)
    assert load_data_set("generic", tmp_path).name == "generic"
    assert set(LOADERS) >= {"casia", "casia-view1", "oulu", "buaa", "lamphq", "generic", "ms1m", "lfw"}
