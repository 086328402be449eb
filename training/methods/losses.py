"""Losses on cosines: softmax, AM-softmax, Arc-softmax and triplet (docs/hsst.md, 2.3)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from faces.strict import Strict

LossName = Literal["softmax", "am", "arc", "triplet"]
Mining = Literal["hardest", "semihard", "all"]
# Keeps the gradient of Arc finite (docs/hsst.md, 4.5).
COSINE_LIMIT = 1.0 - 1e-6


class LossConfig(Strict):
    """`scale`: s; `margin`: m of AM (arXiv 1801.05599) and Arc (arXiv 1801.07698); `gap`: of the triplet."""

    name: LossName = "softmax"
    scale: Annotated[float, Field(gt=0)] = 30.0
    margin: Annotated[float, Field(ge=0, lt=math.pi / 2)] = 0.35
    gap: Annotated[float, Field(gt=0)] = 0.3
    mining: Mining = "hardest"


def cosines(rows: Tensor, columns: Tensor) -> Tensor:
    """Cosines [b, k] of unit rows [b, d] and unit columns [k, d], clamped to +-COSINE_LIMIT.

    They are float32 whatever the network computes in: the scale times bfloat16's error would be a tenth.
    """
    with torch.autocast(rows.device.type, enabled=False):
        return (rows.float() @ columns.float().T).clamp(-COSINE_LIMIT, COSINE_LIMIT)  # [b, k]


def per_sample(cosine: Tensor, target: Tensor, allowed: Tensor, config: LossConfig) -> Tensor:
    """The loss [b] of each row, from cosine [b, k], target int64 [b] and allowed bool [b, k].

    Columns that are not allowed take no part; the target's own column is always allowed.
    """
    if config.name == "triplet":
        return _triplet(cosine, target, allowed, config)
    logits = config.scale * _with_margin(cosine, target, config)  # [b, k]
    return functional.cross_entropy(logits.masked_fill(~allowed, -math.inf), target, reduction="none")


def _with_margin(cosine: Tensor, target: Tensor, config: LossConfig) -> Tensor:
    """Cosines [b, k] with the margin on each row's own column."""
    if config.name == "softmax" or config.margin == 0:
        return cosine
    own = cosine.gather(1, target[:, None])  # [b, 1]
    if config.name == "am":
        return cosine.scatter(1, target[:, None], own - config.margin)
    m = config.margin
    # Equation (d): past pi the cosine would rise again, so a straight line continues it.
    turned = own * math.cos(m) - (1.0 - own * own).clamp_min(0.0).sqrt() * math.sin(m)  # [b, 1]
    beyond = own <= math.cos(math.pi - m)  # [b, 1]
    return cosine.scatter(1, target[:, None], torch.where(beyond, own - m * math.sin(m), turned))


def _triplet(cosine: Tensor, target: Tensor, allowed: Tensor, config: LossConfig) -> Tensor:
    """Equation (e): relu(d+ - d- + gap) with squared distances 2 - 2 cos of unit vectors."""
    near = 2.0 - 2.0 * cosine.gather(1, target[:, None])  # [b, 1]
    far = 2.0 - 2.0 * cosine  # [b, k]
    usable = allowed.scatter(1, target[:, None], False)  # [b, k]
    if config.mining == "all":
        lost = functional.relu(near - far + config.gap) * usable  # [b, k]
        return lost.sum(dim=1) / usable.sum(dim=1).clamp_min(1)
    if config.mining == "semihard":
        # Farther than the positive, yet within the gap; the hardest if there is none.
        semi = usable & (far > near) & (far < near + config.gap)  # [b, k]
        usable = torch.where(semi.any(dim=1, keepdim=True), semi, usable)  # [b, k]
    closest = far.masked_fill(~usable, math.inf).min(dim=1).values  # [b]
    return functional.relu(near[:, 0] - closest + config.gap)
