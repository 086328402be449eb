"""CASIA NIR-VIS 2.0: official counts, and copies as they exist in practice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from faces.types import Spectrum
from tests.training.data.trees import casia_tree, touch, write_list
from training.data.casia import PROBES, check_counts, load_casia
from training.data.loaded import LoadedSet
from training.data.records import DataSetError


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> LoadedSet:
    root = tmp_path_factory.mktemp("casia")
    casia_tree(root)
    return load_casia(root)


def test_view_2_of_a_full_tree_has_the_official_counts(tmp_path: Path) -> None:
    casia_tree(tmp_path, full=True)
    loaded = load_casia(tmp_path)
    assert [len(fold.probes) for fold in loaded.folds()] == list(PROBES)
    assert {len(fold.gallery) for fold in loaded.folds()} == {358}
    assert {len({s.subject for s in fold.gallery}) for fold in loaded.folds()} == {358}
    assert {len({s.subject for s in fold.train}) for fold in loaded.folds()} == {357}
    assert loaded.findings == ()
    assert [fold.name for fold in loaded.folds()] == [f"casia-view2-fold{k}" for k in range(1, 11)]
    paths = [s.path for s in loaded.samples()]
    assert len(paths) == len(set(paths))


def test_every_sample_is_on_disk_whatever_ending_and_case_the_list_writes(small: LoadedSet) -> None:
    for sample in small.samples():
        assert (small.root / sample.path).is_file()
        assert sample.path.name in {p.name for p in (small.root / sample.path).parent.iterdir()}
        assert sample.subject == sample.path.parts[-2]
        assert sample.spectrum.name == sample.path.parts[1]
    endings = {(s.spectrum, s.path.suffix) for s in small.samples()}
    assert {(Spectrum.NIR, ".jpg"), (Spectrum.NIR, ".bmp"), (Spectrum.NIR, ".BMP")} <= endings
    assert {(Spectrum.VIS, ".jpg"), (Spectrum.VIS, ".bmp")} <= endings


def test_every_fold_keeps_all_lines_in_order(tmp_path: Path) -> None:
    subjects = casia_tree(tmp_path)
    sizes = {s.number: len(s.nir) for s in subjects}
    for fold in load_casia(tmp_path).folds():
        tested = {s.subject for s in fold.probes}
        assert len(fold.probes) == sum(sizes[subject] for subject in tested)
        assert {s.spectrum for s in fold.probes} == {Spectrum.NIR}
        assert {s.spectrum for s in fold.gallery} == {Spectrum.VIS}
        assert {s.spectrum for s in fold.train} == set(Spectrum)


def test_differing_counts_are_findings_and_no_error(small: LoadedSet) -> None:
    texts = [str(f) for f in small.findings]
    assert "casia-view2-fold1: 6 training subjects, officially 357" in texts
    assert "casia-view2-fold1: 4 gallery pictures, officially 358" in texts
    assert any(t.startswith("casia-view2-fold4:") and t.endswith("probes, officially 6055") for t in texts)
    assert check_counts(small.folds()[:9])[0].text == "9 folds, officially 10"


def test_view_1_is_one_fold_whose_samples_have_their_places(tmp_path: Path) -> None:
    casia_tree(tmp_path)
    loaded = load_casia(tmp_path, view=1)
    (fold,) = loaded.folds()
    assert fold.name == "casia-view1"
    assert loaded.place(fold.gallery[0]).role == "gallery"
    assert loaded.place(fold.probes[0]).split == "test"
    assert loaded.place(fold.train[0]).split == "train"


def test_the_flat_variant_gives_the_same_folds(tmp_path: Path) -> None:
    casia_tree(tmp_path / "nested")
    casia_tree(tmp_path / "flat", flat=True)
    nested, flat = load_casia(tmp_path / "nested"), load_casia(tmp_path / "flat")
    for a, b in zip(nested.folds(), flat.folds(), strict=True):
        assert [s.subject for s in a.probes] == [s.subject for s in b.probes]
        assert [s.subject for s in a.train] == [s.subject for s in b.train]
    sample = flat.samples()[0]
    assert sample.path.parts[0] == "NIR"
    assert re.fullmatch(rf"s[1-4]_nir_{sample.subject}_\d+\.(bmp|jpg)", sample.path.name.lower())


def test_lists_may_be_in_the_flat_spelling_too(tmp_path: Path) -> None:
    casia_tree(tmp_path, flat=True)
    for file in sorted((tmp_path / "protocols").iterdir()):
        lines = file.read_text(encoding="utf-8-sig").split("\n")
        flat = [f"{ln.split(chr(92))[1]}\\{ln.strip().replace(chr(92), '_')}" for ln in lines if ln.strip()]
        write_list(file, flat)
    assert {len(s.subject) for s in load_casia(tmp_path).samples()} == {5}


def test_a_missing_picture_names_list_line_and_remedy(tmp_path: Path) -> None:
    casia_tree(tmp_path)
    lost = load_casia(tmp_path).folds()[0].probes[1]
    (tmp_path / lost.path).unlink()
    with pytest.raises(DataSetError, match=r"line \d+: s\d/NIR/.* is not there, nor with another ending"):
        load_casia(tmp_path)
    loaded = load_casia(tmp_path, strict=False)
    assert lost.path not in {s.path for s in loaded.samples()}
    assert [s.path.with_suffix("") for s in loaded.absent] == [lost.path.with_suffix("")]
    named = [fold.name for fold in loaded.folds() if fold.name.endswith("-subset")]
    assert "casia-view2-fold1-subset" in named
    assert any("is not there" in f.text and "line" in f.where for f in loaded.findings)


def test_a_complete_fold_is_not_called_a_subset(tmp_path: Path) -> None:
    casia_tree(tmp_path)
    folds = load_casia(tmp_path).folds()
    # VIS pictures are used only where their subject is trained on, or as the one that is enrolled.
    spare = next(s for s in folds[0].train if s.spectrum is Spectrum.VIS and s.path.stem != "001")
    untouched = {f.name for f in folds if spare.path not in {s.path for s in f.train}}
    (tmp_path / spare.path).unlink()
    names = {f.name for f in load_casia(tmp_path, strict=False).folds()}
    assert untouched
    assert {n for n in names if not n.endswith("-subset")} == untouched


def test_a_missing_list_and_a_line_that_is_no_path_are_named(tmp_path: Path) -> None:
    casia_tree(tmp_path)
    probe = next(p for p in (tmp_path / "protocols").iterdir() if p.stem == "nir_probe_3")
    kept = probe.read_bytes()
    write_list(probe, ["s1\\NIR\\00001\\001.bmp", "what is this"])
    with pytest.raises(DataSetError, match=rf"{probe.name}, line 2: 'what is this'"):
        load_casia(tmp_path, strict=False)
    write_list(probe, ["..\\..\\secret.bmp"])
    with pytest.raises(DataSetError, match="no path below"):
        load_casia(tmp_path)
    probe.write_bytes(kept)
    write_list(probe, ["s1\\VIS\\00001\\001.jpg"])
    with pytest.raises(DataSetError, match="a VIS picture in a list of NIR"):
        load_casia(tmp_path)
    probe.unlink()
    with pytest.raises(DataSetError, match="protocols/nir_probe_3 is missing"):
        load_casia(tmp_path)


def test_eyes_are_read_left_first_beside_either_name(tmp_path: Path) -> None:
    casia_tree(tmp_path)
    first, second, third = load_casia(tmp_path).folds()[0].probes[:3]
    touch(tmp_path / f"{first.path}.pos", b"\xef\xbb\xbf300 210.5\r\n220 205\r\n")
    touch(tmp_path / second.path.with_suffix(".POS"), b"220,205,300,210")
    loaded = load_casia(tmp_path)
    by_path = {s.path: s for s in loaded.samples()}
    assert by_path[first.path].eyes == ((220.0, 205.0), (300.0, 210.5))
    assert by_path[second.path].eyes == ((220.0, 205.0), (300.0, 210.0))
    assert by_path[third.path].eyes is None
    assert any(f.where == "eye files" for f in loaded.findings)
    touch(tmp_path / f"{third.path}.pos", b"1 2 3")
    with pytest.raises(DataSetError, match=r"\.pos: an eye file holds four numbers"):
        load_casia(tmp_path)
    assert load_casia(tmp_path, strict=False).folds()[0].probes[2].eyes is None
