"""Plain, plain+, the in-batch control, SST, IDR, W-CNN and distillation: each learns by its own rule."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from faces.types import Spectrum
from tests.training.nets import DIMENSION, pair_batch, tiny_net
from training.data.batches import PairBatch
from training.methods.contrast import Contrast, ContrastConfig
from training.methods.distillation import Distil, Distilled, TaughtBatch
from training.methods.invariant import Invariant, InvariantConfig, wasserstein
from training.methods.losses import LossConfig
from training.methods.nuclear_norm import nuclear_norm
from training.methods.pair_task import PairTask
from training.methods.plain import Plain, PlainConfig
from training.methods.sst import Sst, SstConfig
from training.networks.layers import unit_rows
from training.networks.shared_encoder import SharedEncoder

CLASSES = 4
SOFT = LossConfig(scale=10, margin=0.1)


def learn(task: PairTask, steps: int = 60, *, teacher: int = 0) -> list[float]:
    """The same subjects again and again; their NIR photo is the inverted VIS photo."""
    base = pair_batch(0, list(range(CLASSES)), teacher=teacher)
    optimiser = torch.optim.SGD(task.groups(0.05), lr=0.05, momentum=0.9)
    losses = []
    for i in range(steps):
        batch = PairBatch(i, -base.vis, base.vis, base.identity, base.teacher)
        outcome = task(batch)
        optimiser.zero_grad()
        outcome.loss.backward()
        optimiser.step()
        task.after_step(batch, outcome)
        losses.append(float(outcome.loss.detach()))
    return losses


def tasks() -> dict[str, PairTask]:
    sizes = {"dimension": DIMENSION, "classes": CLASSES}
    made: dict[str, PairTask] = {
        f"plain {name}": Plain(
            tiny_net(), PlainConfig(loss=SOFT.model_copy(update={"name": name}), head_lr=10), **sizes
        )
        for name in ("softmax", "am", "arc", "triplet")
    }
    made["contrast"] = Contrast(tiny_net(), ContrastConfig(loss=SOFT))
    sst = SstConfig(loss=SOFT, queue=4, ema=0.9)
    made["sst"] = Sst(tiny_net(), sst, dimension=DIMENSION, batch=4, seed=0)
    for kind in ("idr", "wcnn"):
        config = InvariantConfig.model_validate({"kind": kind, "shared": 12, "loss": SOFT})
        made[kind] = Invariant(tiny_net(), config, **sizes)
    return made


@pytest.mark.parametrize("name", sorted(tasks()))
def test_the_loss_falls(name: str) -> None:
    losses = learn(tasks()[name])
    assert losses[-1] < 0.8 * losses[0]


def test_plain_plus_starts_at_the_class_means_and_learns_its_head_faster() -> None:
    task = Plain(tiny_net(), PlainConfig(loss=SOFT, head_lr=10), dimension=DIMENSION, classes=CLASSES)
    means = torch.randn(CLASSES, DIMENSION)
    task.start_at(means)
    assert task.head is not None
    assert torch.allclose(task.head.weight, unit_rows(means))
    body, head = task.groups(0.01)
    assert head["lr"] == pytest.approx(10 * body["lr"])
    assert head["params"] == [task.head.weight]
    assert len(body["params"]) == len(list(task.encoder.parameters()))


def test_sst_mixes_both_spectra_in_one_queue() -> None:
    task = Sst(tiny_net(), SstConfig(loss=SOFT, queue=32, ema=0.9), dimension=DIMENSION, batch=4, seed=0)
    kept = []
    for i in range(8):
        batch = pair_batch(i, list(range(4 * i, 4 * i + 4)))
        outcome = task(batch)
        task.after_step(batch, outcome)
        stored = task.queues.rows(Spectrum.VIS)[4 * i : 4 * i + 4]
        kept.append(next(s for s, rows in outcome.carry.items() if torch.equal(rows, stored)))
    assert set(kept) == {Spectrum.NIR, Spectrum.VIS}


def test_private_subspaces_start_and_stay_orthogonal() -> None:
    task = tasks()["idr"]
    assert isinstance(task, Invariant)
    first = task(pair_batch(0, list(range(CLASSES)))).parts["orthogonality"]
    assert float(first) < 1e-8
    with torch.no_grad():
        task.private["nir"] += 0.5 * task.encoder.shared[:4]  # type: ignore[index]
    bent = float(task(pair_batch(0, list(range(CLASSES)))).parts["orthogonality"])
    learn(task, 30)
    assert float(task(pair_batch(0, list(range(CLASSES)))).parts["orthogonality"]) < 0.5 * bent


def test_inference_uses_the_shared_encoder() -> None:
    task = tasks()["wcnn"]
    assert isinstance(task.encoder, SharedEncoder)
    assert task.encoder(pair_batch(0, [0, 1]).nir).shape == (2, 12)
    with pytest.raises(ValueError, match="smaller"):
        Invariant(tiny_net(), InvariantConfig(kind="idr", shared=16), dimension=DIMENSION, classes=2)


def test_wasserstein_of_shifted_and_spread_rows() -> None:
    rows = torch.randn(100, 3)
    assert float(wasserstein(rows, rows)) == 0.0
    assert float(wasserstein(rows, rows + 2.0)) == pytest.approx(12.0, rel=1e-4)
    spread = rows.std(dim=0, unbiased=False)
    centred = rows - rows.mean(dim=0)
    expected = float((2 * spread).square().sum())
    assert float(wasserstein(centred, 3 * centred)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("apart", [1.0, 0.03, 1e-3])
def test_the_nuclear_norm_is_that_of_singular_values_in_double(apart: float) -> None:
    generator = torch.Generator().manual_seed(0)
    head = torch.randn(60, 16, generator=generator)
    both = torch.cat([head, head + apart * torch.randn(60, 16, generator=generator)], dim=1)
    norm, gradient = _norm_and_gradient(both)
    u, values, vh = torch.linalg.svd(both.double(), full_matrices=False)
    assert norm == pytest.approx(float(values.sum()), rel=1e-6)
    assert torch.allclose(gradient.double(), u @ vh, atol=2e-3)


def test_heads_that_agree_are_not_driven_apart_by_the_nuclear_norm() -> None:
    head = torch.randn(40, 12, generator=torch.Generator().manual_seed(0))
    _, gradient = _norm_and_gradient(torch.cat([head, head], dim=1))
    nir, vis = gradient.chunk(2, dim=1)
    assert torch.allclose(nir, vis, atol=1e-5)
    assert float(torch.linalg.matrix_norm(gradient, ord=2)) == pytest.approx(1.0, abs=1e-4)
    norm, gradient = _norm_and_gradient(torch.zeros(5, 3))
    assert norm == float(gradient.abs().sum()) == 0.0


def _norm_and_gradient(matrix: torch.Tensor) -> tuple[float, torch.Tensor]:
    matrix.requires_grad_()
    norm = nuclear_norm(matrix)
    (gradient,) = torch.autograd.grad(norm, matrix)
    matrix.requires_grad_(False)
    return float(norm.detach()), gradient


def test_distillation_reaches_the_teachers_similarities() -> None:
    torch.manual_seed(0)
    images = torch.randn(8, 3, 16, 16)
    teacher = nn.functional.normalize(torch.randn(8, 6))
    task = Distil(tiny_net(), dimension=DIMENSION, teacher=6)
    optimiser = torch.optim.AdamW(task.groups(0.02))
    first = 0.0
    for i in range(150):
        outcome = task(TaughtBatch(i, images, teacher))
        optimiser.zero_grad()
        outcome.loss.backward()
        optimiser.step()
        first = first or float(outcome.parts["pairs"])
    assert float(outcome.parts["pairs"]) < 0.2 * first


def test_distillation_wraps_any_task_and_requires_templates() -> None:
    task = Distilled(tasks()["sst"], dimension=DIMENSION, teacher=6, weight=1.0)
    losses = learn(task, teacher=6)
    assert losses[-1] < 0.8 * losses[0]
    with pytest.raises(ValueError, match="templates"):
        task(pair_batch(0, [0, 1, 2, 3]))
