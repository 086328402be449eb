"""The exponential moving average of a network's parameters."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def ema_update(average: nn.Module, current: nn.Module, ema: float) -> None:
    """Sets average = ema * average + (1 - ema) * current, parameter by parameter.

    Buffers, such as running statistics, stay each network's own.
    """
    for old, new in zip(average.parameters(), current.parameters(), strict=True):
        old.lerp_(new, 1.0 - ema)
