"""The four losses, against values by hand and against one another."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from training.methods.losses import LossConfig, cosines, per_sample

TARGET = torch.tensor([0, 2])
COSINE = torch.tensor([[0.6, 0.1, -0.3], [0.2, 0.5, 0.4]])
ALL = torch.ones(2, 3, dtype=torch.bool)


def loss(**options: object) -> torch.Tensor:
    return per_sample(COSINE, TARGET, ALL, LossConfig.model_validate(options))


def test_softmax_is_cross_entropy_of_scaled_cosines() -> None:
    expected = functional.cross_entropy(30 * COSINE, TARGET, reduction="none")
    assert torch.equal(loss(name="softmax"), expected)


@pytest.mark.parametrize("name", ["am", "arc"])
def test_a_margin_of_zero_is_softmax(name: str) -> None:
    assert torch.allclose(loss(name=name, margin=0), loss(name="softmax"))


def test_am_subtracts_the_margin_from_the_positive_alone() -> None:
    logits = COSINE.clone()
    logits[0, 0] -= 0.35
    logits[1, 2] -= 0.35
    expected = functional.cross_entropy(30 * logits, TARGET, reduction="none")
    assert torch.allclose(loss(name="am"), expected)


def test_arc_turns_the_positive_by_the_margin() -> None:
    logits = COSINE.clone()
    logits[0, 0] = math.cos(math.acos(0.6) + 0.35)
    logits[1, 2] = math.cos(math.acos(0.4) + 0.35)
    expected = functional.cross_entropy(30 * logits, TARGET, reduction="none")
    assert torch.allclose(loss(name="arc"), expected, atol=1e-4)


def test_arc_keeps_falling_past_pi() -> None:
    cosine = torch.linspace(-1 + 1e-6, 1 - 1e-6, 2001)[:, None].repeat(1, 2)
    cosine[:, 1] = 0.0
    target = torch.zeros(len(cosine), dtype=torch.int64)
    allowed = torch.ones_like(cosine, dtype=torch.bool)
    values = per_sample(cosine, target, allowed, LossConfig(name="arc", scale=1))
    assert bool((values.diff() < 0).all())


@pytest.mark.parametrize("name", ["softmax", "am", "arc", "triplet"])
def test_the_gradient_is_finite_where_two_rows_are_equal(name: str) -> None:
    rows = functional.normalize(torch.randn(4, 8), dim=1).requires_grad_()
    cosine = cosines(rows, rows.detach().clone())
    allowed = torch.ones(4, 4, dtype=torch.bool)
    config = LossConfig.model_validate({"name": name})
    total = per_sample(cosine, torch.arange(4), allowed, config).sum()
    (gradient,) = torch.autograd.grad(total, rows)
    assert bool(torch.isfinite(gradient).all())


def test_columns_that_are_not_allowed_take_no_part() -> None:
    allowed = ALL.clone()
    allowed[0, 1] = False
    for name in ("softmax", "am", "arc", "triplet"):
        config = LossConfig.model_validate({"name": name})
        other = COSINE.clone()
        other[0, 1] = 0.99
        assert torch.equal(
            per_sample(COSINE, TARGET, allowed, config), per_sample(other, TARGET, allowed, config)
        )


def test_triplet_mining_follows_its_setting() -> None:
    # Squared distances of row 0: positive .8; negatives 1.8 and 2.6. Of row 1: positive 1.2; 1.6 and 1.
    assert torch.allclose(loss(name="triplet", gap=0.3), torch.tensor([0.0, 0.5]))
    assert torch.allclose(loss(name="triplet", gap=0.5, mining="semihard"), torch.tensor([0.0, 0.1]))
    assert torch.allclose(loss(name="triplet", gap=0.5, mining="all"), torch.tensor([0.0, (0.1 + 0.7) / 2]))


def test_cosines_stay_exact_under_mixed_precision() -> None:
    torch.manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(8, 64), dim=1)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = cosines(rows, rows)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, cosines(rows, rows))
