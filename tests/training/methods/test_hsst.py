"""Pins HSST (docs/hsst.md, section 2): queues, directions, gradients, the sampler's promise, resuming."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from faces.types import Spectrum
from tests.training.nets import DIMENSION, pair_batch, tiny_net
from training.data.batches import PairBatch
from training.data.pairs import QueueError
from training.methods.build import TaskConfig, build_task
from training.methods.hsst import Hsst, HsstConfig
from training.methods.losses import LossConfig
from training.methods.prototypes import PrototypeQueues
from training.methods.sst import Sst, SstConfig
from training.networks.backbone import BackboneConfig
from training.networks.layers import BnMode, norms, unit_rows

BATCH, QUEUE = 4, 12


def hsst(**options: object) -> Hsst:
    config = HsstConfig.model_validate({"queue": QUEUE, "ema": 0.9, **options})
    return Hsst(tiny_net(), config, dimension=DIMENSION, batch=BATCH, seed=3)


def learn(task: Hsst, batches: list[PairBatch]) -> list[float]:
    optimiser = torch.optim.SGD(task.groups(0.05), momentum=0.9)
    losses = []
    for batch in batches:
        outcome = task(batch)
        optimiser.zero_grad()
        outcome.loss.backward()
        optimiser.step()
        task.after_step(batch, outcome)
        losses.append(float(outcome.loss.detach()))
    return losses


def value_of(task: Hsst, batch: PairBatch) -> float:
    """The loss as a number."""
    with torch.no_grad():
        return float(task(batch).loss)


def ids(start: int) -> list[int]:
    return list(range(start, start + BATCH))


def test_the_queue_holds_a_multiple_of_the_batch() -> None:
    with pytest.raises(QueueError, match="multiple"):
        PrototypeQueues(size=10, batch=4, dimension=2, spectra=(Spectrum.VIS,))


def test_a_task_that_masks_repeated_subjects_needs_no_queue_in_the_sampler() -> None:
    assert TaskConfig(method=HsstConfig(queue=QUEUE)).queue == QUEUE
    assert TaskConfig(method=HsstConfig(queue=QUEUE, on_same_id="mask")).queue == 0


def test_the_first_step_compares_with_its_own_batch_only() -> None:
    """Unfilled columns are no negatives: the first loss is that of the batch alone, by hand."""
    task, batch = hsst(), pair_batch(0, ids(0))
    with torch.no_grad():
        p = {s: unit_rows(copy.deepcopy(task.encoder)(getattr(batch, s.value))) for s in Spectrum}
        g = p  # the gallery-net starts as a copy
        expected = [
            torch.nn.functional.cross_entropy(30 * p[a] @ g[b].T, torch.arange(BATCH))
            for a, b in ((Spectrum.NIR, Spectrum.VIS), (Spectrum.VIS, Spectrum.NIR))
        ]
        assert value_of(task, batch) == pytest.approx(float(sum(expected)) / 2, rel=1e-4)


def test_the_logit_of_the_positive_is_s_times_the_cosine() -> None:
    """With one subject in the queue there is no negative: softmax gives 0, AM and Arc too."""
    for name in ("softmax", "am", "arc"):
        config = HsstConfig(queue=1, loss=LossConfig(name=name))
        task = Hsst(tiny_net(), config, dimension=DIMENSION, batch=1, seed=0)
        task.encoder.eval()
        task.gallery.eval()
        assert value_of(task, pair_batch(0, [5])) == 0.0


def test_no_gradient_reaches_the_gallery_net_or_the_queues() -> None:
    task = hsst()
    learn(task, [pair_batch(0, ids(0))])
    outcome = task(pair_batch(1, ids(4)))
    outcome.loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in task.gallery.parameters())
    assert not any(rows.requires_grad for rows in outcome.carry.values())
    assert all(p.grad is not None for p in task.encoder.parameters())


def test_swapping_spectra_and_queues_swaps_the_two_terms() -> None:
    task = hsst()
    learn(task, [pair_batch(0, ids(0)), pair_batch(1, ids(4))])
    other = copy.deepcopy(task)
    other.queues.rows(Spectrum.VIS).copy_(task.queues.rows(Spectrum.NIR))
    other.queues.rows(Spectrum.NIR).copy_(task.queues.rows(Spectrum.VIS))
    batch = pair_batch(2, ids(8))
    turned = PairBatch(2, batch.vis, batch.nir, batch.identity)
    a, b = task(batch), other(turned)
    assert torch.allclose(a.parts["nir_to_vis"], b.parts["vis_to_nir"], atol=1e-6)
    assert torch.allclose(a.parts["vis_to_nir"], b.parts["nir_to_vis"], atol=1e-6)
    assert not torch.allclose(a.parts["nir_to_vis"], a.parts["vis_to_nir"])


def test_the_two_queues_differ_and_hold_what_the_gallery_net_made_before_the_average_moved() -> None:
    task, batch = hsst(), pair_batch(0, ids(0))
    before = copy.deepcopy(task.gallery)
    learn(task, [batch])
    for spectrum in Spectrum:
        made = unit_rows(before(getattr(batch, spectrum.value)))
        assert torch.allclose(task.queues.rows(spectrum)[:BATCH], made, atol=1e-6)
    assert not torch.allclose(task.queues.rows(Spectrum.VIS), task.queues.rows(Spectrum.NIR))
    assert task.queues.ids.tolist() == [0, 1, 2, 3] + [-1] * 8
    assert int(task.queues.pointer) == BATCH


def test_the_gallery_net_is_a_moving_average_of_parameters() -> None:
    task = hsst()
    before = [p.clone() for p in task.gallery.parameters()]
    learn(task, [pair_batch(0, ids(0))])
    for old, slow, fast in zip(before, task.gallery.parameters(), task.encoder.parameters(), strict=True):
        assert torch.allclose(slow, 0.9 * old + 0.1 * fast, atol=1e-6)


def test_a_subject_that_is_still_a_negative_is_refused_or_masked() -> None:
    task = hsst()
    learn(task, [pair_batch(0, ids(0))])
    with pytest.raises(QueueError, match="still a negative"):
        task(pair_batch(1, [9, 8, 7, 0]))
    masked = hsst(on_same_id="mask")
    learn(masked, [pair_batch(0, ids(0))])
    allowed = masked.queues.allowed(torch.tensor([9, 8, 7, 0]))
    assert allowed[3].tolist() == [False, True, True, True, True, True, True, True] + [False] * 4
    assert math.isfinite(value_of(masked, pair_batch(1, [9, 8, 7, 0])))


def test_the_oldest_batch_may_repeat_because_its_slots_are_next() -> None:
    task = hsst()
    learn(task, [pair_batch(i, ids(4 * i)) for i in range(3)])
    assert set(task.queues.kept_ids().tolist()) == set(range(4, 12))
    assert math.isfinite(value_of(task, pair_batch(3, ids(0))))


def test_extra_slot_adds_the_positive_to_all_columns() -> None:
    """Eq. 2 literally: n negatives and one positive, no other positive of the batch."""
    task, batch = hsst(positive_slot="extra"), pair_batch(0, ids(0))
    assert value_of(task, batch) == pytest.approx(0.0, abs=1e-6)
    learn(task, [batch])
    assert value_of(task, pair_batch(1, ids(4))) > 0.0


@pytest.mark.parametrize("direction", ["nv", "vn", "random_batch", "random_pair"])
def test_directions_are_parts_of_both(direction: str) -> None:
    batch = pair_batch(0, ids(0))
    task, parts = hsst(direction=direction), hsst()(batch).parts
    nv, vn = float(parts["nir_to_vis"]), float(parts["vis_to_nir"])
    loss = value_of(task, batch)
    assert loss == value_of(task, batch)
    if direction == "nv":
        assert loss == pytest.approx(nv)
    elif direction == "vn":
        assert loss == pytest.approx(vn)
    elif direction == "random_batch":
        assert loss == pytest.approx(nv) or loss == pytest.approx(vn)
        turns = [PairBatch(i, batch.nir, batch.vis, batch.identity) for i in range(20)]
        drawn = {round(value_of(task, turn), 4) for turn in turns}
        assert drawn == {round(nv, 4), round(vn, 4)}


@pytest.mark.parametrize("mode", ["separate", "joint", "frozen", "dsbn"])
def test_normalisation_modes(mode: str) -> None:
    task, batch = hsst(bn_mode=mode), pair_batch(0, ids(0))
    *_, norm = norms(task.encoder)
    learn(task, [batch])
    moved = {n: bool((getattr(norm, f"{n}_mean") != 0).any()) for n in ("vis", "nir")}
    assert moved == {"vis": mode != "frozen", "nir": mode == "dsbn"}
    if mode == "dsbn":
        assert not torch.allclose(norm.vis_mean, norm.nir_mean)


@pytest.mark.parametrize("name", ["softmax", "am", "arc", "triplet"])
def test_training_separates_subjects(name: str) -> None:
    """The same four subjects in every batch, whose NIR photo is the inverted VIS photo."""
    task = hsst(loss={"name": name, "scale": 10, "margin": 0.1}, queue=BATCH)
    base = pair_batch(0, ids(0))
    batches = [PairBatch(i, -base.vis, base.vis, base.identity) for i in range(60)]
    losses = learn(task, batches)
    assert losses[-1] < 0.7 * losses[0]


def test_a_resumed_run_gives_the_bit_equal_next_loss() -> None:
    batches = [pair_batch(i, ids(4 * i % 16)) for i in range(8)]
    whole = hsst()
    optimiser = torch.optim.SGD(whole.groups(0.05), momentum=0.9)
    states, losses = [], []
    for batch in batches:
        states.append(copy.deepcopy((whole.state_dict(), optimiser.state_dict())))
        outcome = whole(batch)
        optimiser.zero_grad()
        outcome.loss.backward()
        optimiser.step()
        whole.after_step(batch, outcome)
        losses.append(float(outcome.loss.detach()))
    again = hsst()
    again.load_state_dict(states[5][0])
    assert value_of(again, batches[5]) == losses[5]


@pytest.mark.parametrize("mode", ["separate", "joint", "frozen", "dsbn"])
@pytest.mark.parametrize("method", [HsstConfig(queue=QUEUE), SstConfig(queue=QUEUE)])
def test_the_gallery_net_gives_a_photo_one_prototype(method: HsstConfig | SstConfig, mode: BnMode) -> None:
    """IR-50 has dropout before its last matrix; dropped prototypes of one batch had a cosine of .58."""
    torch.manual_seed(0)
    backbone = BackboneConfig(kind="ir50", side_px=32, width=0.0625, dimension=DIMENSION)
    config = TaskConfig(method=method.model_copy(update={"bn_mode": mode}))
    task = build_task(config, backbone.build(), dimension=DIMENSION, classes=8, batch=BATCH, seed=0)
    assert isinstance(task, Hsst | Sst)
    task.train()
    shape = (BATCH, 3, 32, 32)
    batch = PairBatch(0, torch.randn(shape), torch.randn(shape), torch.tensor(ids(0)))
    with torch.no_grad():
        first, second = (task.embed_pair(task.gallery, batch) for _ in range(2))
        for spectrum in Spectrum:
            cosine = (first[spectrum] * second[spectrum]).sum(dim=1)
            assert torch.allclose(cosine, torch.ones(BATCH), atol=1e-5)
        learned, again = (task.embed_pair(task.encoder, batch)[Spectrum.VIS] for _ in range(2))
    assert not torch.allclose(learned, again), "the probe-net keeps its dropout"
    *_, norm = norms(task.gallery)
    assert bool((norm.vis_mean != 0).any()) == (mode != "frozen")
