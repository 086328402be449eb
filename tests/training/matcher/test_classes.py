"""The softmax over subjects and the queue of prototypes beside InfoNCE, in a term and in whole runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from tests.training.matcher.parts import small_cache, small_trunk
from training.data.records import DataSetError
from training.engine.loop import LOG
from training.engine.recipe_file import read_recipe
from training.matcher.batches import Batches
from training.matcher.classes import PrototypeTerm, SubjectSoftmax
from training.matcher.recipe import BatchRecipe, FineTuneRecipe, LossRecipe, PrototypesRecipe, SubjectsRecipe
from training.matcher.run import RECIPE, FineTuning
from training.matcher.store import Store
from training.matcher.teacher import teach
from training.methods.losses import LossConfig

BATCH = BatchRecipe(people=4, real=1, singles=3, clear=2)
PLAIN = FineTuneRecipe(
    iterations=5, lr=1e-3, warmup=1, save_every=2, log_every=1, bf16=False, batch=BATCH, ema=0.5
)
AXES = torch.eye(4)


def with_terms(subjects: float = 0.0, prototypes: float = 0.0) -> FineTuneRecipe:
    loss = LossRecipe(
        subjects=SubjectsRecipe(weight=subjects), prototypes=PrototypesRecipe(weight=prototypes, queue=20)
    )
    return PLAIN.model_copy(update={"loss": loss})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return small_cache(tmp_path_factory.mktemp("cache"))


def begun(store: Store, folder: Path, recipe: FineTuneRecipe) -> FineTuning:
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    net, config = small_trunk(folder)
    # Whoever ran before must not change what this run draws.
    torch.manual_seed(11)
    return FineTuning(store, teach(store, net, folder / "teacher", bf16=False), net, config, recipe, folder)


def value(loss: Tensor) -> float:
    return float(loss.detach())


def learnt(run: FineTuning) -> list[Tensor]:
    run.run()
    return [p.detach().clone() for p in run.net.parameters()]


@pytest.mark.parametrize("terms", [{"subjects": 1e-38}, {"prototypes": 1e-38}])
def test_a_term_of_next_to_no_weight_leaves_the_run_bit_equal(
    store: Store, tmp_path: Path, terms: dict[str, float]
) -> None:
    without = learnt(begun(store, tmp_path / "a", PLAIN))
    run = begun(store, tmp_path / "b", with_terms(**terms))
    assert all(torch.equal(a, b) for a, b in zip(without, learnt(run), strict=True))
    lines = [json.loads(line) for line in (run.out / LOG).read_text().splitlines()]
    assert next(iter(terms)) in lines[-1]


@pytest.mark.parametrize("terms", [{"subjects": 0.5}, {"prototypes": 0.5}])
def test_a_term_with_a_weight_changes_the_run(store: Store, tmp_path: Path, terms: dict[str, float]) -> None:
    without = learnt(begun(store, tmp_path / "a", PLAIN))
    changed = learnt(begun(store, tmp_path / "b", with_terms(**terms)))
    assert any(not torch.equal(a, b) for a, b in zip(without, changed, strict=True))


def test_a_resumed_run_has_the_class_weights_and_the_queue(store: Store, tmp_path: Path) -> None:
    recipe = with_terms(subjects=0.5, prototypes=0.5)
    whole = begun(store, tmp_path / "a", recipe)
    whole.run()
    part = begun(store, tmp_path / "b", recipe)
    part.run(stop=lambda: part.iteration == 3)
    again = begun(store, tmp_path / "b", recipe)
    assert again.resume()
    again.run()
    for one, other in zip(whole.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(one, other)
    ours, theirs = whole.objective.state_dict(), again.objective.state_dict()
    assert {"subjects.head.weight", "prototypes.queues.vis", "prototypes.queues.pointer"} <= ours.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_run_begun_before_there_were_such_terms_goes_on(store: Store, tmp_path: Path) -> None:
    run = begun(store, tmp_path, PLAIN)
    path = run.out / RECIPE
    written = json.loads(path.read_bytes())
    del written["loss"]["subjects"], written["loss"]["prototypes"]
    path.write_text(json.dumps(written))
    begun(store, tmp_path, PLAIN)
    with pytest.raises(DataSetError, match="another recipe"):
        begun(store, tmp_path, with_terms(subjects=0.5))


def test_probes_are_the_same_with_other_photos_and_those_are_other_photos_of_the_same_people(
    store: Store,
) -> None:
    made = [
        Batches(store, BATCH, columns=(8, 104), size=(32, 32), seed=3, others=asked).batch(5)
        for asked in (False, True)
    ]
    assert torch.equal(made[0].pixels, made[1].pixels)
    assert made[0].others is None
    others = made[1].others
    assert others is not None
    # Four people of several photos and one with a real mask have another one; single photos have none, and
    # clear views ask for none.
    several = {int(p) for p in made[1].subject[others.row]}
    assert len(others.row) == 5
    assert all(sum(r.subject == f"s{p}" for r in store.photos) > 1 for p in several)
    assert not made[1].clear[others.row].any()
    assert others.pixels.shape == (5, 3, 32, 32)


def test_prototypes_come_from_the_average_and_from_another_photo(store: Store, tmp_path: Path) -> None:
    run = begun(store, tmp_path, with_terms(prototypes=0.5))
    batch = run.batches.batch(0)
    made = run._prototypes(batch)
    assert made is not None
    assert batch.others is not None
    there = made.abs().sum(1) > 0
    assert there.nonzero()[:, 0].tolist() == batch.others.row.tolist()
    torch.testing.assert_close(made[there].norm(dim=1), torch.ones(5))
    with torch.no_grad():
        next(iter(run.average.parameters())).mul_(-1)
    moved = run._prototypes(batch)
    assert moved is not None
    assert not torch.allclose(moved, made)
    assert begun(store, tmp_path / "none", PLAIN)._prototypes(batch) is None


def test_the_softmax_has_the_margins_value_and_only_people_of_several_photos() -> None:
    recipe = SubjectsRecipe(weight=1, loss=LossConfig(name="am", scale=2.0, margin=0.25))
    term = SubjectSoftmax(AXES, torch.tensor([2, 1, 3, 1]), recipe)
    assert term.head.weight.shape == (2, 4)
    rows = functional.normalize(torch.tensor([[3.0, 0.0, 4.0, 0.0]]), dim=1)
    # Person 2 at a cosine of .8, person 0 at .6; people 1 and 3, and 9 whom nobody knows, are no classes.
    expected = math.log1p(math.exp(2.0 * (0.6 - (0.8 - 0.25))))
    assert value(term(rows, torch.tensor([2]))) == pytest.approx(expected, abs=1e-6)
    many = rows.repeat(4, 1)
    assert value(term(many, torch.tensor([2, 1, 3, 9]))) == pytest.approx(expected, abs=1e-6)
    assert value(term(many, torch.tensor([1, 3, 9, 1]))) == 0.0
    with pytest.raises(DataSetError, match="two references"):
        SubjectSoftmax(AXES, torch.ones(4, dtype=torch.int64), recipe)


def test_a_prototype_is_a_negative_once_it_is_in_the_queue_and_empty_slots_never_are() -> None:
    recipe = PrototypesRecipe(weight=1, loss=LossConfig(name="softmax", scale=2.0), queue=4)
    term = PrototypeTerm(4, 2, recipe)
    rows = functional.normalize(torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]), dim=1)
    first = torch.stack([AXES[1], torch.zeros(4)])
    # The second probe has no prototype: it neither counts nor is a negative of the first.
    assert value(term(rows, torch.tensor([0, 5]), first)) == pytest.approx(0.0, abs=1e-6)
    term.enqueue(torch.tensor([0, 5]), first)
    assert term.queues.filled.tolist() == [True, False, False, False]
    # Now for another person, at .6, against the first one's prototype, at .8.
    second = torch.stack([AXES[0], torch.zeros(4)])
    expected = math.log1p(math.exp(2.0 * (0.8 - 0.6)))
    assert value(term(rows, torch.tensor([7, 5]), second)) == pytest.approx(expected, abs=1e-5)
    # A person's own earlier prototype is no negative.
    assert value(term(rows, torch.tensor([0, 5]), second)) == pytest.approx(0.0, abs=1e-6)


def test_the_options_are_checked() -> None:
    chosen = read_recipe(
        FineTuneRecipe,
        "matcher",
        ["loss.subjects.weight=0.3", 'loss.subjects.loss.name="arc"', "loss.prototypes.weight=1"],
    )
    assert chosen.loss.subjects.loss == LossConfig(name="arc")
    assert chosen.loss.prototypes.loss == LossConfig(name="am", margin=0.35, scale=30)
    assert read_recipe(FineTuneRecipe, "matcher", ()).loss.prototypes.weight == 0
    with pytest.raises(ValidationError, match="no classes"):
        SubjectsRecipe(weight=1, loss=LossConfig(name="triplet"))
    with pytest.raises(ValidationError, match="500 is no multiple of 64"):
        FineTuneRecipe(loss=LossRecipe(prototypes=PrototypesRecipe(weight=1, queue=500)))
    with pytest.raises(ValidationError):
        SubjectsRecipe(weight=-1)
