"""Prepared sets: writing, reading, naming of broken parts; LFW and a teacher with real networks."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from faces.bundle import read
from faces.types import Spectrum
from tests.conftest import sample_bytes
from training.data.lfw import Photo
from training.data.prepared import (
    ROWS_FILE,
    SET_FILE,
    SHARD_ROWS,
    PreparedSet,
    Refused,
    Row,
    SetInfo,
    read_prepared,
    shard_name,
)
from training.data.records import DataSetError, Fold, Sample
from training.data.set_writer import SetWriter
from training.networks.backbone import BackboneConfig
from training.networks.onnx_runner import BundleRunner
from training.networks.teacher import Teacher, cached_templates
from training.networks.torch_encoder import load_checkpoint_encoder
from training.research.standin.photos import align_photos
from training.research.standin.trunk import TrunkConfig, label_images, train_trunk
from training.views.found_faces import find_face

INFO = SetInfo(name="small", alignment="arcface-112", side_px=16, made_by="a test")


def crop(value: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((16, 16, 3), value % 251, np.uint8)


@pytest.fixture
def small(tmp_path: Path) -> PreparedSet:
    """Two shards, the second not full."""
    writer = SetWriter(tmp_path / "set", INFO)
    for i in range(SHARD_ROWS + 3):
        spectrum = Spectrum.NIR if i % 2 else Spectrum.VIS
        writer.add(Row(source=f"{i}.png", subject=f"s{i // 4}", spectrum=spectrum, split="train"), crop(i))
    writer.refuse(
        Refused(source="x.png", subject="s0", spectrum=Spectrum.NIR, code="no_face", detail="no face found")
    )
    return writer.close()


def test_a_written_set_reads_back_equal(small: PreparedSet) -> None:
    again = read_prepared(small.root)
    assert again.rows == small.rows
    assert again.refused == small.refused
    for i in (0, SHARD_ROWS - 1, SHARD_ROWS, SHARD_ROWS + 2):
        assert np.array_equal(again.crop(i), crop(i))
    assert np.array_equal(again.crops([3, SHARD_ROWS])[1], crop(SHARD_ROWS))
    nir = again.select(split="train", spectrum=Spectrum.NIR)
    assert {again.rows[int(i)].spectrum for i in nir} == {Spectrum.NIR}
    assert len(nir) == (SHARD_ROWS + 3) // 2
    assert not len(again.select(split="test"))
    with pytest.raises(IndexError):
        again.crop(len(again.rows))


def test_an_unfinished_set_cannot_be_read(tmp_path: Path) -> None:
    writer = SetWriter(tmp_path, INFO)
    for i in range(SHARD_ROWS):
        writer.add(Row(source=f"{i}.png", subject="s", spectrum=Spectrum.VIS), crop(i))
    with pytest.raises(DataSetError, match=f"no {SET_FILE}"):
        read_prepared(tmp_path)


def test_a_missing_shard_and_a_bad_line_are_named(small: PreparedSet) -> None:
    rows = small.root / ROWS_FILE
    whole = rows.read_bytes()
    rows.write_bytes(whole.replace(b'"subject"', b'"subjekt"', 1))
    with pytest.raises(DataSetError, match=r"rows\.jsonl, line 1"):
        read_prepared(small.root)
    rows.write_bytes(whole)
    (small.root / shard_name(1)).unlink()
    with pytest.raises(DataSetError, match="shard-00001"):
        read_prepared(small.root)


def test_a_crop_of_another_size_is_refused(tmp_path: Path) -> None:
    writer = SetWriter(tmp_path, INFO)
    with pytest.raises(ValueError, match="16, 16, 3"):
        writer.add(Row(source="a", subject="s", spectrum=Spectrum.VIS), np.zeros((8, 8, 3), np.uint8))


def test_a_fold_keeps_subjects_apart() -> None:
    def sample(subject: str) -> Sample:
        return Sample(Path(f"{subject}.png"), subject, Spectrum.VIS)  # type: ignore[arg-type]

    with pytest.raises(DataSetError, match="both trained on and tested on"):
        Fold("one", (sample("a"),), (sample("a"),), ())
    with pytest.raises(DataSetError, match="no gallery image"):
        Fold("one", (sample("a"),), (sample("b"),), (sample("c"),))


def test_photos_of_a_tar_are_aligned_and_the_faceless_are_listed(bundle_dir: Path, tmp_path: Path) -> None:
    done, blank = cv2.imencode(".png", np.full((250, 250, 3), 90, np.uint8))
    assert done
    tar = tmp_path / "lfw.tar"
    files = {
        f"lfw/{s}/{n}.jpg": sample_bytes(s, f"{n}.jpg") for s in ("s01", "s02") for n in ("vis_1", "vis_2")
    }
    files["lfw/s03/blank.png"] = blank.tobytes()
    with tarfile.open(tar, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    made = align_photos(tar, bundle_dir, tmp_path / "out", workers=1)
    assert [row.source for row in made.rows] == sorted(files)[:4]
    assert [(lost.source, lost.code) for lost in made.refused] == [("lfw/s03/blank.png", "no_face")]
    assert made.crop(0).shape == (112, 112, 3)


def test_the_teacher_gives_what_the_service_would(bundle_dir: Path, tmp_path: Path) -> None:
    runner = BundleRunner(read(bundle_dir))
    writer = SetWriter(tmp_path / "set", INFO.model_copy(update={"side_px": 112}))
    expected = []
    for name in ("vis_1.jpg", "vis_2.jpg"):
        found = find_face(Photo(name, sample_bytes("s01", name)), runner)
        assert found is not None
        writer.add(Row(source=name, subject="s01", spectrum=Spectrum.VIS), found.crop.pixels)
        expected.append(runner.embed(found.image, found.face))
    made = writer.close()
    templates = Teacher(bundle_dir).embed(made.crops([0, 1]))
    assert np.allclose(templates, np.stack(expected), atol=1e-5)
    cache = tmp_path / "templates.npy"
    indices = np.arange(2, dtype=np.int64)
    first = cached_templates(made, indices, bundle_dir, cache)
    assert np.allclose(first, templates, atol=1e-6)
    np.save(cache, np.zeros_like(first))
    assert not cached_templates(made, indices, bundle_dir, cache).any()


def test_a_trunk_is_distilled_and_resumes(bundle_dir: Path, tmp_path: Path) -> None:
    runner = BundleRunner(read(bundle_dir))
    writer = SetWriter(tmp_path / "set", INFO.model_copy(update={"side_px": 112}))
    for subject in ("s01", "s02", "s03"):
        found = find_face(Photo(subject, sample_bytes(subject)), runner)
        assert found is not None
        row = Row(source=subject, subject=subject, spectrum=Spectrum.VIS, split="train")
        writer.add(row, found.crop.pixels)
    backbone = BackboneConfig(side_px=32, width=0.125, dimension=32)
    config = TrunkConfig(backbone=backbone, iterations=6, batch=4, mixtures=5)
    prepared = writer.close()
    labelled = label_images(prepared, bundle_dir, config, tmp_path / "cache")
    kept = sorted((tmp_path / "cache").iterdir())
    np.save(kept[0], np.zeros_like(np.load(kept[0])))
    assert not label_images(prepared, bundle_dir, config, tmp_path / "cache").templates[:3].any()
    assert labelled.images.shape == (11, 3, 32, 32)
    assert np.allclose(np.linalg.norm(labelled.templates, axis=1), 1.0, atol=1e-5)
    seen: list[int] = []
    path = train_trunk(labelled, config, tmp_path / "out", on_step=lambda done, _: seen.append(done))
    train_trunk(labelled, config, tmp_path / "out", on_step=lambda done, _: seen.append(done))
    assert seen == [1, 2, 3, 4, 5, 6]
    rows = load_checkpoint_encoder(path).embed(np.zeros((2, 112, 112, 3), np.uint8), Spectrum.NIR)
    assert rows.shape == (2, 32)
