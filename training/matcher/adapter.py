"""Low-rank updates of a trunk's weights (Hu et al., "LoRA", arXiv 2106.09685, equation 3).

Only the updates and the last matrix are learnt: a large trunk is adapted in minutes, and little of what it
knows can be lost.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from training.data.records import DataSetError
from training.networks.imported import ImportedNet

WEIGHT = "weight"


class LowRank(nn.Module):
    """weight [out, ...] -> weight + up @ down, with up [out, rank] at zero in the beginning."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        rank = min(rank, rows, columns)
        self.down = nn.Parameter(torch.randn(rank, columns) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)


def adapt(net: ImportedNet, rank: int) -> None:
    """Freezes everything but the last matrix, and gives every other one, depthwise kernels apart, an update.

    Raises DataSetError if the network has no matrix to adapt.
    """
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    layers = [
        layer
        for layer in net.layers.values()
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
    ]
    if not layers:
        raise DataSetError("the trunk has neither convolutions nor matrices: there is nothing to adapt")
    *others, head = layers
    for parameter in head.parameters():
        parameter.requires_grad_(True)
    for layer in others:
        assert isinstance(layer.weight, Tensor)  # noqa: S101 - both kinds have one
        parametrize.register_parametrization(layer, WEIGHT, LowRank(layer.weight, rank))


def merged(net: ImportedNet) -> ImportedNet:
    """A copy whose weights have their updates added: it loads as any other network of the trunk's shape."""
    done = copy.deepcopy(net)
    for layer in done.layers.values():
        if parametrize.is_parametrized(layer):
            parametrize.remove_parametrizations(layer, WEIGHT, leave_parametrized=True)
    return done
