"""Oulu-CASIA and BUAA-VisNir: counts of the papers, seeded splits, written out and read back."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from faces.types import Spectrum
from tests.training.data.trees import buaa_tree, oulu_picture, oulu_tree, touch
from training.data.buaa import load_buaa
from training.data.oulu import EXPRESSIONS, load_oulu
from training.data.records import DataSetError
from training.data.splits import drawn, read_split, write_split


@pytest.fixture(scope="module")
def oulu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("oulu")
    oulu_tree(root)
    return root


@pytest.fixture(scope="module")
def buaa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("buaa")
    buaa_tree(root)
    return root


def test_oulu_has_20_and_20_subjects_with_8_pictures_of_each_expression(oulu: Path) -> None:
    (fold,) = load_oulu(oulu).folds()
    assert len({s.subject for s in fold.train}) == len({s.subject for s in fold.gallery}) == 20
    assert {s.subject for s in fold.probes} == {s.subject for s in fold.gallery}
    for samples, spectra in (
        (fold.train, set(Spectrum)),
        (fold.gallery, {Spectrum.VIS}),
        (fold.probes, {Spectrum.NIR}),
    ):
        counts = Counter((s.subject, s.spectrum, s.path.parent.name) for s in samples)
        assert set(counts.values()) == {8}
        assert {spectrum for _, spectrum, _ in counts} == spectra
        assert {expression for _, _, expression in counts} == set(EXPRESSIONS)
    assert (len(fold.train), len(fold.gallery), len(fold.probes)) == (1920, 960, 960)
    assert {s.path.parts[2] for s in fold.train} == {"Strong"}


def test_the_flat_variant_draws_the_same_subjects(oulu: Path, tmp_path: Path) -> None:
    oulu_tree(tmp_path, flat=True)
    (flat,), (nested,) = load_oulu(tmp_path).folds(), load_oulu(oulu).folds()
    assert {s.subject for s in flat.train} == {s.subject for s in nested.train}
    assert len(flat.probes) == 960
    touch(tmp_path / "NI_Strong_P001.jpeg")
    with pytest.raises(DataSetError, match="expected a name like NI_Strong_P001_Disgust_001"):
        load_oulu(tmp_path)


def test_a_split_depends_on_the_seed_and_is_named_by_its_files_digest(oulu: Path, tmp_path: Path) -> None:
    (first,), (same,), (other,) = (load_oulu(oulu, seed=s).folds() for s in (1, 1, 2))
    assert first == same
    assert first.digest != other.digest
    file = write_split(first, tmp_path)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == first.digest
    loaded = load_oulu(oulu, seed=99, split=file)
    assert loaded.folds()[0].digest == first.digest
    assert loaded.folds()[0].probes == first.probes


def test_a_split_of_other_data_is_refused_by_its_line(oulu: Path, tmp_path: Path) -> None:
    file = tmp_path / "split.tsv"
    file.write_text("train\tnir\tP001\tB_OriginalImg/NI/Strong/P001/Anger/999.jpeg\n")
    with pytest.raises(DataSetError, match=r"split\.tsv, line 1: .*999\.jpeg is not in the data set"):
        load_oulu(oulu, split=file)
    file.write_text("train nir P001 x.jpeg\n")
    with pytest.raises(DataSetError, match="line 1: expected part"):
        read_split(file)


def test_a_published_draw_never_changes() -> None:
    names = [f"P{i:03d}" for i in range(1, 9)]
    first = drawn(names, 4, seed=0, salt="oulu subjects")
    by_digest = sorted(names, key=lambda n: hashlib.sha256(f"0\0oulu subjects\0{n}".encode()).hexdigest())
    assert first == by_digest[:4]


def test_too_few_pictures_are_named_and_a_subset_is_marked(tmp_path: Path) -> None:
    oulu_tree(tmp_path, subjects=40, frames=8)
    (tmp_path / "B_OriginalImg/VL/Strong/P007/Fear/003.jpeg").unlink()
    with pytest.raises(DataSetError, match=r"39 subjects .* 40 are needed; P007 has 7 of Fear in VIS"):
        load_oulu(tmp_path)
    (fold,) = load_oulu(tmp_path, strict=False).folds()
    assert fold.name == "oulu-strong-seed0-subset"
    assert len({s.subject for s in (*fold.train, *fold.probes)}) == 40
    oulu_picture(tmp_path, "VL", "Strong", 1, "Boredom", 0, flat=False)
    with pytest.raises(DataSetError, match="'Boredom' is none of"):
        load_oulu(tmp_path, strict=False)


def test_incomplete_subjects_are_findings_if_enough_others_are_left(tmp_path: Path) -> None:
    oulu_tree(tmp_path, subjects=41, frames=8)
    (tmp_path / "B_OriginalImg/NI/Strong/P009/Anger/000.jpeg").unlink()
    loaded = load_oulu(tmp_path)
    assert "P009" not in {s.subject for s in loaded.samples()}
    assert loaded.findings[0].text == "not drawn from, because pictures are missing: P009"
    assert loaded.folds()[0].name == "oulu-strong-seed0"


def test_a_missing_light_is_refused(oulu: Path, tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="'Bright' is no light"):
        load_oulu(oulu, light="Bright")
    with pytest.raises(DataSetError, match="no picture under Strong light"):
        load_oulu(tmp_path)


def test_buaa_has_900_pictures_to_train_on_and_1800_to_test(buaa: Path) -> None:
    loaded = load_buaa(buaa)
    (fold,) = loaded.folds()
    assert len({s.subject for s in fold.train}) == 50
    assert len(fold.train) == 900
    assert len(fold.gallery) == len({s.subject for s in fold.gallery}) == 100
    assert len(fold.probes) == 900
    assert set(Counter(s.subject for s in fold.probes).values()) == {9}
    for sample in loaded.samples():
        assert (sample.spectrum is Spectrum.NIR) == (int(sample.path.stem) % 2 == 0)
    assert {s.path.stem for s in fold.gallery} == {"1"}
    assert loaded.findings == ()
    assert fold.digest is not None


def test_buaa_names_the_incomplete_or_missing_folder(tmp_path: Path) -> None:
    buaa_tree(tmp_path)
    (tmp_path / "17" / "4.bmp").unlink()
    with pytest.raises(DataSetError, match="folder 17: 8 NIR pictures, 9 are needed"):
        load_buaa(tmp_path)
    (fold,) = load_buaa(tmp_path, strict=False).folds()
    assert fold.name == "buaa-seed0-subset"
    touch(tmp_path / "17" / "4.bmp")
    touch(tmp_path / "3" / "copy of 4.bmp")
    with pytest.raises(DataSetError, match=r"copy of 4\.bmp: a picture's name is a number"):
        load_buaa(tmp_path)
    (tmp_path / "3" / "copy of 4.bmp").unlink()
    (tmp_path / "150").rename(tmp_path / "0017")
    with pytest.raises(DataSetError, match="a second folder of subject 17"):
        load_buaa(tmp_path)
    (tmp_path / "0017").rename(tmp_path / "left over")
    with pytest.raises(DataSetError, match="149 subjects, officially 150; the first that is missing is 150"):
        load_buaa(tmp_path)
