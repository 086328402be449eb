"""Each term pulls where it says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from training.matcher.objective import MatchObjective
from training.matcher.recipe import LossRecipe, PrototypesRecipe, SubjectsRecipe

DIM = 16


def made(people: int = 6, photos: int = 3, **weights: float) -> tuple[MatchObjective, Tensor]:
    """An objective whose people's templates lie close together, and the people's centres [people, DIM]."""
    chance = torch.Generator().manual_seed(1)
    centres = functional.normalize(torch.randn(people, DIM, generator=chance), dim=1)
    noise = 0.1 * torch.randn(people * photos, DIM, generator=chance)
    anchors = functional.normalize(centres.repeat_interleave(photos, 0) + noise, dim=1)
    subject = torch.arange(people).repeat_interleave(photos)
    recipe = LossRecipe(queue=8, **weights)
    return MatchObjective(anchors, subject, torch.arange(len(anchors)), recipe, batch=people), centres


def test_the_loss_is_lower_for_the_right_person_than_for_another() -> None:
    objective, centres = made()
    subject, photo, clear = torch.arange(6), torch.arange(6) * 3, torch.zeros(6, dtype=torch.bool)
    right = objective(centres, subject, photo, clear)
    wrong = objective(centres.roll(1, 0), subject, photo, clear)
    assert right.loss < wrong.loss
    assert all(right.parts[name] < wrong.parts[name] for name in ("forward", "backward", "threshold", "pull"))


def test_the_photo_itself_is_no_anchor_where_there_is_another() -> None:
    objective, _ = made(people=2, photos=2, backward=0, threshold=0, pull=0, hold=0)
    rows = objective.anchors[:1].clone().requires_grad_()
    lone, both = torch.tensor([0]), torch.tensor([False])
    objective(rows, lone, lone, both).loss.backward()
    assert rows.grad is not None
    # Downhill lies the other photo of the person, not the photo itself.
    towards = -rows.grad[0]
    other = objective.anchors[1] - objective.anchors[0]
    assert torch.dot(towards, other) > 0


def test_clear_rows_are_held_at_the_trunks_own_template() -> None:
    objective, _ = made()
    rows, clear = objective.anchors[:3].clone(), torch.ones(3, dtype=torch.bool)
    parts = objective(rows, objective.anchor_subject[:3], torch.arange(3), clear).parts
    assert parts["hold"] == pytest.approx(0.0, abs=1e-6)
    assert parts["pull"] == 0.0


def test_no_gradient_reaches_anchors_or_queue_and_a_photo_without_anchor_costs_nothing() -> None:
    objective, _ = made(threshold=0)
    rows = functional.normalize(torch.randn(2, DIM), dim=1).requires_grad_()
    nobody = torch.tensor([77, 78])
    scored = objective(rows, nobody, torch.tensor([500, 501]), torch.zeros(2, dtype=torch.bool))
    assert float(scored.loss.detach()) == 0.0
    assert not objective.anchors.requires_grad
    assert not objective.queue.requires_grad


def test_the_queue_is_a_ring_and_part_of_the_state() -> None:
    objective, centres = made()
    objective.enqueue(centres, torch.arange(6))
    objective.enqueue(centres, torch.arange(6) + 10)
    assert objective.queue_subject.tolist() == [12, 13, 14, 15, 4, 5, 10, 11]
    assert {"queue", "queue_subject", "pointer", "threshold"} == set(objective.state_dict())


def test_no_further_term_and_no_further_state_unless_it_has_a_weight() -> None:
    objective, centres = made()
    subject, photo, clear = torch.arange(6), torch.arange(6) * 3, torch.zeros(6, dtype=torch.bool)
    torch.manual_seed(4)
    scored = objective(centres, subject, photo, clear)
    assert list(scored.parts) == ["forward", "backward", "threshold", "pull", "hold"]
    assert [name for name, _ in objective.named_parameters()] == ["threshold"]
    weighted = sum(getattr(objective.recipe, name) * value for name, value in scored.parts.items())
    assert float(scored.loss.detach()) == pytest.approx(float(weighted), rel=1e-6)


def test_the_further_terms_are_added_by_their_weights() -> None:
    plain, centres = made()
    both = MatchObjective(
        plain.anchors,
        plain.anchor_subject,
        plain.anchor_photo,
        LossRecipe(
            queue=8, subjects=SubjectsRecipe(weight=0.5), prototypes=PrototypesRecipe(weight=3, queue=12)
        ),
        batch=6,
    )
    given = centres, torch.arange(6), torch.arange(6) * 3, torch.zeros(6, dtype=torch.bool)
    torch.manual_seed(4)
    first = plain(*given)
    torch.manual_seed(4)
    second = both(*given, centres.roll(1, 0))
    added = 0.5 * second.parts["subjects"] + 3 * second.parts["prototypes"]
    assert float(added) > 1
    assert float(second.loss.detach()) == pytest.approx(float(first.loss.detach() + added), rel=1e-6)
    with pytest.raises(ValueError, match="none were given"):
        both(*given)
