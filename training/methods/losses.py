"""Losses on cosines: softmax, AM-softmax, Arc-softmax and triplet, as HSST.md section 2 pins them."""

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
COSINE_LIMIT = 1.0 - 1e-6


class LossConfig(Strict):
    """`scale` s; `margin` m of AM (arXiv 1801.05599) and Arc (arXiv 1801.07698); `gap` of the triplet."""

    name: LossName = "softmax"
    scale: Annotated[float, Field(gt=0)] = 30.0
    margin: Annotated[float, Field(ge=0, lt=math.pi / 2)] = 0.35
    gap: Annotated[float, Field(gt=0)] = 0.3
    mining: Mining = "hardest"


def cosines(rows: Tensor, columns: Tensor) -> Tensor:
    """Unit rows [b, d] and unit columns [k, d] -> [b, k], kept off +-1 so that Arc has a gradient.

    In float32 whatever the network computes in: times the scale, bfloat16's error would be a tenth.
    """
    with torch.autocast(rows.device.type, enabled=False):
        return (rows.float() @ columns.float().T).clamp(-COSINE_LIMIT, COSINE_LIMIT)


def per_sample(cosine: Tensor, target: Tensor, allowed: Tensor, config: LossConfig) -> Tensor:
    """The loss of each row: cosine [b, k], target int64 [b], allowed bool [b, k] -> [b].

    Columns that are not allowed take no part; the target's own always is.
    """
    if config.name == "triplet":
        return _triplet(cosine, target, allowed, config)
    logits = config.scale * _with_margin(cosine, target, config)
    return functional.cross_entropy(logits.masked_fill(~allowed, -math.inf), target, reduction="none")


def _with_margin(cosine: Tensor, target: Tensor, config: LossConfig) -> Tensor:
    if config.name == "softmax" or config.margin == 0:
        return cosine
    own = cosine.gather(1, target[:, None])
    if config.name == "am":
        return cosine.scatter(1, target[:, None], own - config.margin)
    m = config.margin
    turned = own * math.cos(m) - (1.0 - own * own).clamp_min(0.0).sqrt() * math.sin(m)
    # Past pi the turned cosine would rise again: a straight line goes on falling.
    beyond = own <= math.cos(math.pi - m)
    return cosine.scatter(1, target[:, None], torch.where(beyond, own - m * math.sin(m), turned))


def _triplet(cosine: Tensor, target: Tensor, allowed: Tensor, config: LossConfig) -> Tensor:
    """relu(d+ - d- + gap) with squared distances 2 - 2 cos of unit vectors."""
    near = 2.0 - 2.0 * cosine.gather(1, target[:, None])
    far = 2.0 - 2.0 * cosine
    usable = allowed.scatter(1, target[:, None], False)
    if config.mining == "all":
        lost = functional.relu(near - far + config.gap) * usable
        return lost.sum(dim=1) / usable.sum(dim=1).clamp_min(1)
    if config.mining == "semihard":
        # Farther than the positive, yet within the gap; where there is none, the hardest.
        semi = usable & (far > near) & (far < near + config.gap)
        usable = torch.where(semi.any(dim=1, keepdim=True), semi, usable)
    closest = far.masked_fill(~usable, math.inf).min(dim=1).values
    return functional.relu(near[:, 0] - closest + config.gap)
