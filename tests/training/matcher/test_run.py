"""A whole small run: cache, templates, batches, steps, and a resumed run that does what the whole one did."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from faces.align import ALIGNMENTS
from tests.training.matcher.parts import WIDTH, painted, small_cache, small_trunk
from training.data.records import DataSetError
from training.engine.loop import LAST, LOG
from training.matcher.batches import Batches, People
from training.matcher.frames import crop_of, face_in_frame, framed
from training.matcher.mix import mix
from training.matcher.overlap import exclude
from training.matcher.recipe import BatchRecipe, FineTuneRecipe
from training.matcher.run import ENCODER, FineTuning
from training.matcher.store import FACTS, Store
from training.matcher.teacher import as_trunk, teach, templates
from training.matcher.views import trunk_input
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import load_network, save_encoder
from training.networks.imported import ImportedNet
from training.networks.layers import unit_rows

BATCH = BatchRecipe(people=4, real=1, singles=3, clear=2)
RECIPE = FineTuneRecipe(
    iterations=6, lr=1e-3, warmup=1, save_every=3, log_every=1, bf16=False, batch=BATCH, ema=0.5
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return small_cache(tmp_path_factory.mktemp("cache"))


def begun(store: Store, folder: Path, recipe: FineTuneRecipe = RECIPE) -> FineTuning:
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    net, config = small_trunk(folder)
    teacher = teach(store, net, folder / "teacher", bf16=False)
    return FineTuning(store, teacher, net, config, recipe, folder / "run")


def test_a_resumed_run_ends_where_the_whole_one_does(store: Store, tmp_path: Path) -> None:
    whole = begun(store, tmp_path / "a")
    whole.run()
    part = begun(store, tmp_path / "b")
    part.run(stop=lambda: part.iteration == 2)
    again = begun(store, tmp_path / "b")
    assert again.resume()
    assert again.iteration == 2
    again.run()
    for one, other in zip(whole.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(whole.average.parameters(), again.average.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(whole.objective.queue, again.objective.queue)
    lines = [json.loads(line) for line in (tmp_path / "b" / "run" / LOG).read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_the_encoder_is_the_average_and_loads_without_the_run(store: Store, tmp_path: Path) -> None:
    run = begun(store, tmp_path / "a")
    before = [p.clone() for p in run.net.parameters()]
    run.run()
    assert any(not torch.equal(a, b) for a, b in zip(before, run.net.parameters(), strict=True))
    net, config = load_network(run.out / ENCODER)
    assert config.dimension == WIDTH
    for one, other in zip(net.parameters(), run.average.parameters(), strict=True):
        assert torch.equal(one, other)
    assert (run.out / LAST).is_file()


def test_another_recipe_is_refused_but_a_longer_run_is_not(store: Store, tmp_path: Path) -> None:
    begun(store, tmp_path)
    begun(store, tmp_path, RECIPE.model_copy(update={"iterations": 9, "frozen": 1}))
    with pytest.raises(DataSetError, match="another recipe"):
        begun(store, tmp_path, RECIPE.model_copy(update={"lr": 2e-3}))


def test_frozen_layers_stay_as_they_are(store: Store, tmp_path: Path) -> None:
    run = begun(store, tmp_path, RECIPE.model_copy(update={"frozen": 2}))
    assert isinstance(run.net, ImportedNet)
    first, later = [next(iter(layer.parameters())) for layer in run.net.layers.values() if layer.state_dict()]
    was = first.clone(), later.clone()
    run.run()
    assert torch.equal(first, was[0])
    assert not torch.equal(later, was[1])


def test_a_batch_shows_whom_the_recipe_says(store: Store) -> None:
    made = Batches(store, BATCH, columns=(8, 104), size=(32, 32), seed=3)
    one, same, other = made.batch(5), made.batch(5), made.batch(6)
    assert torch.equal(one.pixels, same.pixels)
    assert not torch.equal(one.photo, other.photo)
    assert one.pixels.shape == (BATCH.size, 3, 32, 32)
    assert int(one.clear.sum()) == BATCH.clear
    rows = [store.photos[i] for i in one.photo.tolist()]
    assert sum(row.masked for row in rows) == BATCH.real
    assert {row.part for row in rows} == {"train"}
    assert 0 <= float(one.pixels.min()) <= float(one.pixels.max()) <= 255


def test_open_terms_and_excluded_people_are_left_out(store: Store, tmp_path: Path) -> None:
    everybody, open_ = People(store), People(store, terms_open=True)
    assert len(open_.several) == len(everybody.several) / 2
    copy = small_cache(tmp_path)
    teacher = np.random.default_rng(0).normal(size=(len(copy.photos), WIDTH)).astype(np.float32)
    mean = teacher[:3].sum(0)
    tested = (mean / np.linalg.norm(mean)).astype(np.float32)
    lines = exclude(copy, teacher, [("somebody", tested)])
    assert any(line.startswith("s0\tsomebody\t1.000") for line in lines)
    left = {copy.photos[i].subject for photos in People(copy).plain.values() for i in photos}
    assert "s0" not in left
    assert "s1" in left or len(lines) > 1


def test_templates_are_those_of_the_network_on_what_the_service_shows_it(
    store: Store, tmp_path: Path
) -> None:
    net, _ = small_trunk(tmp_path)
    crops = np.stack([crop_of(store.frames[i]) for i in range(3)])
    made = templates(net, crops)
    both = np.concatenate([crops, crops[:, :, ::-1]])
    images = torch.from_numpy(both.transpose(0, 3, 1, 2).copy()).float().sub(127.5).div(127.5)
    with torch.no_grad():
        expected = unit_rows(unit_rows(net(images)).view(2, 3, -1).sum(0))
        pixels = torch.from_numpy(trunk_input(crops, (8, 104), (32, 32)))
        np.testing.assert_allclose(as_trunk(net, pixels), net(images[:3]), atol=1e-4)
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_frames_hold_the_crop_in_their_middle() -> None:
    photo = painted(4, 0)
    points = tuple((x - 3, y + 2) for x, y in ALIGNMENTS["arcface-112"].points)
    frame, moved = framed(photo, points)
    np.testing.assert_allclose(moved - 16, ALIGNMENTS["arcface-112"].points, atol=1e-3)
    assert crop_of(frame).shape == (112, 112, 3)
    assert face_in_frame(moved).box.width > 60


def test_a_cache_that_was_cut_short_is_not_read(tmp_path: Path) -> None:
    small_cache(tmp_path, people=2)
    (tmp_path / "frames.u8").write_bytes(b"short")
    with pytest.raises(DataSetError, match="make the cache again"):
        Store(tmp_path)
    (tmp_path / FACTS).unlink()
    with pytest.raises(DataSetError, match="no finished cache"):
        Store(tmp_path)


def test_a_mix_lies_between_trunk_and_run(store: Store, tmp_path: Path) -> None:
    run = begun(store, tmp_path)
    trunk, _ = small_trunk(tmp_path)
    run.run()
    mix(trunk, run.out / ENCODER, tmp_path / "mixed.pt", share=0.25)
    mixed = load_network(tmp_path / "mixed.pt")[0].state_dict()
    for name, last in run.average.state_dict().items():
        first = trunk.state_dict()[name]
        torch.testing.assert_close(mixed[name], 0.75 * first + 0.25 * last)
    with pytest.raises(ValueError, match="between 0 and 1"):
        mix(trunk, run.out / ENCODER, tmp_path / "no.pt", share=1.5)


def own_network(folder: Path) -> Path:
    """A checkpoint of a narrow residual network of this project."""
    folder.mkdir()
    torch.manual_seed(3)
    config = BackboneConfig(kind="ir-small", width=0.25, dimension=WIDTH)
    save_encoder(folder / "own.pt", config.build().eval(), config)
    return folder / "own.pt"


def test_a_network_of_ones_own_learns_in_its_own_space(store: Store, tmp_path: Path) -> None:
    path = own_network(tmp_path / "own")
    net, config = load_network(path)
    first = {name: value.clone() for name, value in net.state_dict().items()}
    teacher = teach(store, net, tmp_path / "teacher", bf16=False)
    photo = next(i for i, row in enumerate(store.photos) if row.part == "train" and row.reference)
    crop = crop_of(store.frames[photo])
    with torch.inference_mode():
        both = torch.from_numpy(np.stack([crop, crop[:, ::-1]]).transpose(0, 3, 1, 2).astype(np.float32))
        rows = unit_rows(net.eval()((both - 127.5) / 127.5)).sum(0, keepdim=True)
    assert np.allclose(teacher[photo], unit_rows(rows)[0].numpy(), atol=1e-5)
    run = FineTuning(store, teacher, net, config, RECIPE, tmp_path / "run")
    run.run()
    learnt, _ = load_network(run.out / ENCODER)
    changed = {name for name, value in learnt.state_dict().items() if not torch.equal(value, first[name])}
    assert {name for name, _ in learnt.named_parameters()} <= changed
    # Statistics of masked NIR batches would move visible templates away from the references.
    assert not any(name.endswith(("_mean", "_var")) for name in changed)
    mix(load_network(path)[0], run.out / ENCODER, tmp_path / "half.pt", share=0.5)
    half, _ = load_network(tmp_path / "half.pt")
    name = next(iter(changed))
    assert torch.allclose(half.state_dict()[name], (first[name] + learnt.state_dict()[name]) / 2, atol=1e-6)


def test_frozen_layers_of_another_network_are_refused(store: Store, tmp_path: Path) -> None:
    net, config = load_network(own_network(tmp_path / "own"))
    teacher = np.ones((len(store.photos), WIDTH), np.float32)
    frozen = RECIPE.model_copy(update={"frozen": 3})
    with pytest.raises(DataSetError, match="imported trunk"):
        FineTuning(store, teacher, net, config, frozen, tmp_path / "run")
