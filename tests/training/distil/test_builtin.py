"""The built-in embedder: views by number, the teacher's labels of them, and training on both."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from faces.bundle import Normalisation
from faces.types import Spectrum
from training.__main__ import app
from training.data.faces_extra import read_extra
from training.data.photo_sources import Terms, extra_shots
from training.data.prepared import PreparedSet, Row, SetInfo, Shards, read_prepared
from training.data.records import DataSetError
from training.data.set_writer import SetWriter
from training.distil import labels
from training.distil.batches import DistilBatches, Harder, plain_rows
from training.distil.clean_views import Views, moved
from training.distil.labels import LabelStore
from training.distil.recipe import DistilRecipe, ViewsConfig
from training.distil.task import MapDistil
from training.distil.teacher_maps import at_cells, seen_columns, taps_of
from training.engine.recipe_file import read_recipe
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import load_network
from training.networks.imported import ImportedNet
from training.networks.ir import IrNet
from training.networks.onnx_import import import_bundle
from training.synthesis.relighting import toned

SIDE_PX, PHOTOS = 112, 6


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    """Photos of noise blotches, each with a masked pseudo-NIR picture that is darker."""
    info = SetInfo(name="blotches", alignment="arcface-112", side_px=SIDE_PX, made_by="a test")
    writer, rng = SetWriter(tmp_path_factory.mktemp("set"), info), np.random.default_rng(0)
    for photo in range(PHOTOS):
        coarse = rng.integers(0, 255, (7, 7, 3)).astype(np.uint8)
        crop = np.repeat(np.repeat(coarse, 16, axis=0), 16, axis=1)
        common = {"source": f"p{photo}", "subject": f"s{photo}", "split": "train"}
        writer.add(Row(spectrum=Spectrum.VIS, **common), crop)
        writer.add(Row(spectrum=Spectrum.NIR, masked=True, **common), crop // 2)
    return writer.close()


@pytest.fixture(scope="module")
def views(prepared: PreparedSet) -> Views:
    return Views(Shards(prepared.root, len(prepared.rows)), plain_rows(prepared), seed=3)


def test_a_view_depends_on_its_number_alone(views: Views, prepared: PreparedSet) -> None:
    crop = prepared.crop(int(views.plain[2]))
    assert np.array_equal(views.view(2), crop)
    assert np.array_equal(views.view(views.place(2, mirrored=True)), crop[:, ::-1])
    mixtures = [views.view(2 * PHOTOS + i) for i in range(8)]
    again = [views.view(2 * PHOTOS + i) for i in range(8)]
    assert all(np.array_equal(a, b) for a, b in zip(mixtures, again, strict=True))
    assert len({m.tobytes() for m in mixtures}) == 8


def test_a_zero_extent_leaves_the_crop_unchanged(views: Views) -> None:
    crop, rng = views.view(0), np.random.default_rng(0)
    assert np.array_equal(moved(crop, rng, extent=0.0), crop)
    assert not np.array_equal(moved(crop, rng), crop)


def test_harder_pictures_refer_to_their_photo(prepared: PreparedSet) -> None:
    harder = Harder.of(prepared, plain_rows(prepared))
    sources = [prepared.rows[int(plain_rows(prepared)[photo])].source for photo in harder.photo]
    assert [prepared.rows[int(row)].source for row in harder.rows] == sources


def test_maps_are_read_at_the_middle_of_the_students_cells() -> None:
    # Teacher: 8 cells over columns 8 to 104 of 112; its value is the column's place in the crop.
    places = 8 + (torch.arange(8) + 0.5) * 12
    maps = places.expand(1, 1, 8, 8)
    read = at_cells(maps, 14, image_px=112, columns=(8, 104))[0, 0, 5]
    want = (torch.arange(14) + 0.5) * 8
    seen = seen_columns(14, image_px=112, columns=(8, 104)).bool()
    assert seen.tolist() == [False, *[True] * 12, False]
    inside = seen & (want >= places[0]) & (want <= places[-1])
    assert torch.allclose(read[inside], want[inside], atol=1e-3)
    assert (read[~seen] == 0).all()
    assert seen_columns(7, image_px=112, columns=None).all()


@pytest.fixture(scope="module")
def store(views: Views, bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> LabelStore:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels, "PART_VIEWS", 16)
        made = LabelStore(tmp_path_factory.mktemp("labels"), views, bundle_dir, sides=(14, 7))
        made.make(16)
    return made


def test_labels_equal_the_teachers_output(store: LabelStore, views: Views, bundle_dir: Path) -> None:
    (first,) = store.read()
    net, config = import_bundle(bundle_dir)
    images = torch.from_numpy(np.stack([views.view(i) for i in range(16)])).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        rows = torch.nn.functional.normalize(net.eval()((images - 127.5) / 127.5))
    assert config.dimension == first.templates.shape[1]
    assert np.allclose(first.templates, rows.numpy(), atol=1e-4)
    assert [m.shape for m in first.maps] == [(16, 128, 14, 14), (16, 128, 7, 7)]
    # In sixteenths of a spread: centred, and of about that size where the teacher sees.
    seen = first.maps[0][..., 1:13].astype(np.float32) / 16
    assert abs(float(seen.mean())) < 0.2
    assert 0.6 < float(seen.std()) < 1.2


def test_labels_of_other_views_are_refused(store: LabelStore, views: Views, bundle_dir: Path) -> None:
    others = Views(views.shards, views.plain, seed=views.seed + 1)
    with pytest.raises(DataSetError, match="other views"):
        LabelStore(store.folder, others, bundle_dir, sides=(14, 7)).make(16)


def test_a_teacher_without_such_a_map_is_refused(bundle_dir: Path) -> None:
    net, _ = import_bundle(bundle_dir)
    assert isinstance(net, ImportedNet)
    assert isinstance(net.config.normalisation, Normalisation)
    with pytest.raises(DataSetError, match="no map"):
        taps_of(net, (3,))


def test_the_student_learns_templates_and_maps(
    store: LabelStore, views: Views, prepared: PreparedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.distil.batches.PART_VIEWS", 16)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = ViewsConfig(count=16, batch=8, clean=0.5)
    batches = DistilBatches(views, Harder.of(prepared, plain_rows(prepared)), store.read(), config, seed=0)
    batch = batches.batch(0)
    assert len(batch.images) == len(batch.teacher) == 8
    assert [len(one) for one in batch.maps] == [4, 4]
    assert torch.equal(batch.images, batches.batch(0).images)
    net = BackboneConfig(kind="ir-small", width=0.25).build()
    assert isinstance(net, IrNet)
    task = MapDistil(
        net, stages=(2, 3), teacher=256, channels=(128, 128), columns=(8, 104), pairwise=5.0, maps=0.5
    )
    optimiser = torch.optim.AdamW(task.parameters(), 3e-3)
    first = float(task(batch).loss.detach())
    for _ in range(12):
        outcome = task(batch)
        optimiser.zero_grad()
        outcome.loss.backward()
        optimiser.step()
    assert float(outcome.loss.detach()) < 0.7 * first
    assert all(p.grad is not None for p in task.parameters())


def test_the_committed_recipe_is_below_six_megabytes() -> None:
    recipe = read_recipe(DistilRecipe, "builtin-distil")
    weights = sum(p.numel() for p in recipe.backbone.build().parameters())
    assert weights * 4 < 6e6
    assert recipe.sides == (14, 7)


def _archive(path: Path, rows: list[dict[str, str]]) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("extra/list.csv", text.getvalue())
        for row in rows:
            archive.writestr(f"extra/{row['file']}", row["file"].encode())
    return path


def test_labelled_and_closed_photos_are_left_out(tmp_path: Path) -> None:
    rows = [
        {"file": "a.webp", "set": "x", "identity": "", "group": "", "terms": "CC0"},
        {"file": "b.webp", "set": "x", "identity": "somebody", "group": "g", "terms": "CC0"},
        {"file": "c.webp", "set": "x", "identity": "", "group": "", "terms": "NC-research"},
    ]
    archive = _archive(tmp_path / "faces.zip", rows)
    assert [shot.subject for shot in extra_shots(archive, terms=Terms.ALL)] == ["a.webp", "c.webp"]
    assert [(face.identity, face.group) for face in read_extra(archive, labelled=True)] == [("somebody", "g")]
    assert [shot.photo.data for shot in extra_shots(archive, terms=Terms.OPEN)] == [b"a.webp"]
    (tmp_path / "broken.zip").write_bytes(b"no archive")
    with pytest.raises(DataSetError, match=r"broken\.zip"):
        list(extra_shots(tmp_path / "broken.zip", terms=Terms.ALL))


def test_the_command_resumes(
    prepared: PreparedSet, bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("labels", "batches"):
        monkeypatch.setattr(f"training.distil.{module}.PART_VIEWS", 16)
    # Narrower networks crash torch 2.13 in this memory layout: channels of 8, 28 and 48.
    short = ["views.count=16", "views.batch=4", "backbone.width=0.5", "loop.bf16=false", "loop.warmup=1"]
    call = ["builtin", "distil", str(prepared.root), str(tmp_path), "--bundle", str(bundle_dir)]
    for iterations in (2, 3):
        overrides = [*short, f"loop.iterations={iterations}"]
        done = CliRunner().invoke(app, [*call, *(x for o in overrides for x in ("--set", o))])
        assert done.exit_code == 0, done.output
        assert torch.load(tmp_path / "last.pt", weights_only=True)["iteration"] == iterations
    net, config = load_network(tmp_path / "encoder.pt")
    assert config.dimension == 512
    assert isinstance(net, IrNet)
    call[3] = str(tmp_path / "further")
    kept = ["--start", str(tmp_path / "encoder.pt"), "--set", "loop.iterations=1", "--set", "loop.lr=1e-9"]
    done = CliRunner().invoke(app, [*call, *kept, *(x for o in short for x in ("--set", o))])
    assert done.exit_code == 0, done.output
    further, _ = load_network(tmp_path / "further" / "encoder.pt")
    weights = zip(net.parameters(), further.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in weights)
    wrong = CliRunner().invoke(app, [*call, "--set", "views.nothing=1"])
    assert wrong.exit_code == 2
    assert read_prepared(prepared.root).info.name == "blotches"


def test_relighting_keeps_the_face_and_its_lack_of_colour() -> None:
    rng = np.random.default_rng(3)
    ramp = np.linspace(40, 200, 112, dtype=np.float32)
    crop = np.repeat((ramp[None] * 0.5 + ramp[:, None] * 0.5)[:, :, None], 3, axis=2).astype(np.uint8)
    changed = [toned(crop, rng, grey=0.0, lit=1.0) for _ in range(40)]
    for one in changed:
        assert one.dtype == np.uint8
        assert one.shape == crop.shape
        assert (one == one[:, :, :1]).all()
    # A ramp is light alone: some views flatten it, some make it steeper, few leave it as it was.
    steep = [float(one[90:].mean()) / max(float(one[:22].mean()), 1.0) for one in changed]
    before = float(crop[90:].mean()) / float(crop[:22].mean())
    assert min(steep) < 0.8 * before
    assert max(steep) > 1.2 * before


def test_cameras_make_different_greys_of_one_colour() -> None:
    rng = np.random.default_rng(4)
    crop = np.zeros((112, 112, 3), np.uint8)
    crop[:] = (60, 100, 180)
    greys = [toned(crop, rng, grey=1.0, lit=0.0) for _ in range(60)]
    assert all((one == one[:, :, :1]).all() for one in greys)
    assert len({int(one[56, 56, 0]) for one in greys}) > 20
