"""One template of a crop and its mirror image, for twice the operations."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Mirrored(nn.Module):
    """images [B, 3, s, s] -> [B, d]: the sum of the unit vectors of each image and of its mirror image.

    A face and its mirror image give the same vector, and the effect of light from one side is halved. Both
    images pass through the network in one batch.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        both: Tensor = functional.normalize(self.net(torch.cat([images, images.flip(3)])))
        return both.view(2, images.shape[0], -1).sum(0)
