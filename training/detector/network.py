"""Defines the detector's network: single-shot, anchor-free, dense 3x3 convolutions only.

Depthwise convolutions would make a smaller file, but memory traffic makes them slow, mostly in training.
Features at strides 8, 16 and 32, a top-down pyramid (arXiv 1612.03144), and one head shared by all three.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from faces.detect import CELL_VALUES, STRIDES
from faces.strict import Strict
from training.networks.layers import initialise

# The initial score of every cell (arXiv 1708.02002, section 4.1).
PRIOR = 0.01
Channels = Annotated[int, Field(ge=4)]


class NetworkConfig(Strict):
    """Channels: `stem`, `quarter`, `eighth`, `deep` at strides 2, 4, 8 and above; `pyramid` in the head."""

    stem: Channels = 16
    quarter: Channels = 24
    eighth: Channels = 48
    deep: Channels = 64
    pyramid: Channels = 48


class Block(nn.Sequential):
    """A 3x3 or 1x1 convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Unit(nn.Module):
    """Two 3x3 convolutions with a shortcut (arXiv 1512.03385, figure 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Block(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class Head(nn.Module):
    """One head for all strides, with a normalisation for each, because their statistics differ."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels) for _ in STRIDES])
        self.values = nn.Conv2d(channels, CELL_VALUES, 1)

    def start(self) -> None:
        """Initialises the outputs: small values, and the score PRIOR in every cell."""
        nn.init.normal_(self.values.weight, std=0.01)
        with torch.no_grad():
            for name, bias in self.values.named_parameters():
                if name == "bias":
                    bias[0] = float(torch.logit(torch.tensor(PRIOR)))

    def forward(self, x: Tensor, level: int) -> Tensor:
        y: Tensor = self.values(functional.relu(self.norms[level](self.conv(x))))
        return y


class DetectorNet(nn.Module):
    """[b, 3, h, w] in [-1, 1], sides multiples of 32 -> raw values [b, 16, h/s, w/s] for each stride s.

    The 16 values are those of `faces.detect.decode_centres`, score and mask as logits, the size as a
    logarithm.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        c = config
        self.quarter = nn.Sequential(
            Block(3, c.stem, stride=2), Block(c.stem, c.quarter, stride=2), Block(c.quarter, c.quarter)
        )
        self.stages = nn.ModuleList(
            [
                nn.Sequential(Block(c.quarter, c.eighth, stride=2), Unit(c.eighth)),
                nn.Sequential(Block(c.eighth, c.deep, stride=2), Unit(c.deep)),
                Block(c.deep, c.deep, stride=2),
            ]
        )
        self.across = nn.ModuleList(
            [Block(inputs, c.pyramid, kernel=1) for inputs in (c.eighth, c.deep, c.deep)]
        )
        self.head = Head(c.pyramid)
        initialise(self)
        self.head.start()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.quarter(x)
        levels = []
        for stage, across in zip(self.stages, self.across, strict=True):
            x = stage(x)
            levels.append(across(x))
        for finer in range(len(levels) - 2, -1, -1):
            coarse = functional.interpolate(levels[finer + 1], scale_factor=2.0, mode="nearest")
            levels[finer] = levels[finer] + coarse
        return tuple(self.head(features, level) for level, features in enumerate(levels))


class Exported(nn.Module):
    """The network as the service runs it: probabilities and sizes instead of logits and logarithms."""

    def __init__(self, net: DetectorNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            torch.cat(
                [raw[:, :2].sigmoid(), raw[:, 2:4], raw[:, 4:6].clamp(max=6.0).exp(), raw[:, 6:]], dim=1
            )
            for raw in self.net(image)
        )


def count_parameters(net: nn.Module) -> int:
    """Counts the parameters."""
    return sum(p.numel() for p in net.parameters())


def output_name(stride: int) -> str:
    """Returns the name of an output of the exported file."""
    return f"faces_{stride}"


OUTPUTS = tuple(output_name(stride) for stride in STRIDES)
