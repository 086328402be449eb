"""MobileFaceNet (arXiv 1804.07573, table 1): about a million parameters, 512-d by default."""

from __future__ import annotations

from torch import Tensor, nn

from training.networks.layers import ConvNorm, SpectralBatchNorm, initialise

# Expansion, output channels, repeats, stride of the first repeat: table 1 of the paper.
STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
STRIDE = 16


class Bottleneck(nn.Module):
    """Inverted residual with a linear end; it has a shortcut if the shape does not change."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            ConvNorm(inputs, inner),
            ConvNorm(inner, inner, kernel=3, stride=stride, pad=1, groups=inner),
            ConvNorm(inner, outputs, linear=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.shortcut else y


class MobileFaceNet(nn.Module):
    """[b, 3, side, side], values in [-1, 1] -> [b, dimension], not of unit norm.

    The last depthwise kernel covers the whole map: 7x7 at 112 px, 9x9 at 144. `width` scales every
    inner layer but the last. Raises ValueError unless `side_px` is a multiple of 16.
    """

    def __init__(self, *, side_px: int = 112, dimension: int = 512, width: float = 1.0) -> None:
        super().__init__()
        if side_px % STRIDE or side_px < 2 * STRIDE:
            raise ValueError(f"side_px is a multiple of {STRIDE}, at least {2 * STRIDE}, got {side_px}")
        self.side_px, self.dimension = side_px, dimension
        first, wide = round(64 * width), 512
        layers: list[nn.Module] = [
            ConvNorm(3, first, kernel=3, stride=2, pad=1),
            ConvNorm(first, first, kernel=3, pad=1, groups=first),
        ]
        inputs = first
        for expansion, outputs, repeats, stride in STAGES:
            for i in range(repeats):
                out = round(outputs * width)
                layers.append(Bottleneck(inputs, out, expansion=expansion, stride=stride if i == 0 else 1))
                inputs = out
        self.trunk = nn.Sequential(*layers, ConvNorm(inputs, wide))
        left = side_px // STRIDE
        self.head = nn.Sequential(
            ConvNorm(wide, wide, kernel=left, groups=wide, linear=True),
            nn.Flatten(),
            nn.Linear(wide, dimension, bias=False),
            SpectralBatchNorm(dimension),
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.trunk(x))
        return y
