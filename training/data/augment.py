"""Light augmentation of network inputs."""

from __future__ import annotations

import numpy as np
import torch


def augment(
    images: torch.Tensor, rng: np.random.Generator, *, grey: float = 0.0, mirror: bool = True
) -> torch.Tensor:
    """Flips images [n, 3, s, s] and changes gain and offset; with probability `grey` makes channels equal."""
    n = len(images)
    flip = torch.from_numpy(rng.random(n) < (0.5 if mirror else 0.0))
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    gain = torch.from_numpy(rng.uniform(0.8, 1.2, (n, 1, 1, 1)).astype(np.float32))
    offset = torch.from_numpy(rng.uniform(-0.15, 0.15, (n, 1, 1, 1)).astype(np.float32))
    images = images * gain + offset
    if grey:
        plain = in_grey(images)
        images = torch.where(torch.from_numpy(rng.random(n) < grey)[:, None, None, None], plain, images)
    return images.clamp(-1.0, 1.0)


def in_grey(images: torch.Tensor) -> torch.Tensor:
    """The luminance (ITU-R BT.601) of blue-green-red images [n, 3, s, s] in three equal channels."""
    weights = torch.tensor([0.114, 0.587, 0.299])[None, :, None, None]
    return (images * weights).sum(1, keepdim=True).expand_as(images)
