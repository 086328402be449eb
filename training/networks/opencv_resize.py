"""OpenCV's bilinear resize as torch operations, bit-equal."""

from __future__ import annotations

import torch
from torch import Tensor

# OpenCV's weights have 11 bits.
BITS_11 = 2048.0


def resized(pixels: Tensor, height: int, width: int) -> Tensor:
    """Resizes [b, c, h, w] of 0 to 255 to [b, c, height, width], bit-equal to OpenCV's INTER_LINEAR of bytes.

    That means whole grey levels, weights of 11 bits and floors in between. A plain bilinear resize rounds
    many ties the other way, which moves templates of photos by up to 0.007."""
    pixels = pixels.round()
    rows, columns = _taps(pixels.shape[2], height), _taps(pixels.shape[3], width)
    # The scale keeps every value within float16, for exports.
    first, second, weight = (tap.to(pixels.device) for tap in columns)
    across = (pixels[..., first] * ((BITS_11 - weight) / 16) + pixels[..., second] * (weight / 16)).floor()
    first, second, weight = (tap.to(pixels.device)[:, None] for tap in rows)
    upper = across[:, :, first[:, 0]] * ((BITS_11 - weight) / 65536)
    lower = across[:, :, second[:, 0]] * (weight / 65536)
    return ((upper.floor() + lower.floor() + 2.0) / 4).floor()


def _taps(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each target pixel: the source pixels before and behind it, and the latter's weight of 2048."""
    at = (torch.arange(target, dtype=torch.float64) + 0.5) * (source / target) - 0.5
    at = at.float()
    before = at.floor()
    weight = ((at - before) * BITS_11).round()
    first = before.long()
    return first.clamp(0, source - 1), (first + 1).clamp(0, source - 1), weight
