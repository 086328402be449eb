"""Improved residual networks: IR-50 of ArcFace, and compact ones for dense matrix units.

MobileFaceNet spends its time in depthwise convolutions and activations, which are bound by memory. The
compact network does as many operations in few dense 3x3 convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from training.networks.layers import ConvNorm, SpectralBatchNorm, initialise


@dataclass(frozen=True, slots=True)
class IrPlan:
    """Units and channels of each stage.

    `halved`: the stem has stride 2 and the first stage stride 1, instead of the reverse. `improved`: the
    paper's unit instead of the plain residual one, which has one normalisation less and is a fifth faster.
    `pooled`: the network ends in a depthwise kernel over the last map, as MobileFaceNet does, and a matrix,
    instead of one matrix over everything."""

    units: tuple[int, ...]
    channels: tuple[int, ...]
    halved: bool
    improved: bool
    pooled: bool


PLANS = {
    # arXiv 1801.07698, section 3.1 ("E" embedding, IR units).
    "ir50": IrPlan((3, 4, 14, 3), (64, 128, 256, 512), halved=False, improved=True, pooled=False),
    "ir100": IrPlan((3, 13, 30, 3), (64, 128, 256, 512), halved=False, improved=True, pooled=False),
    "ir-compact": IrPlan((1, 2, 2, 1), (32, 64, 128, 256), halved=True, improved=False, pooled=True),
    # The built-in embedder: 1.45 million parameters at 112 px, below 6 MB.
    "ir-small": IrPlan((1, 2, 3, 1), (32, 64, 112, 192), halved=True, improved=False, pooled=True),
}
STRIDE = 16
DROPOUT = 0.4


class ImprovedUnit(nn.Module):
    """BN, 3x3, BN, PReLU, 3x3 with the stride, BN; the shortcut is a 1x1 if the channels change."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            SpectralBatchNorm(inputs),
            ConvNorm(inputs, outputs, kernel=3, pad=1),
            ConvNorm(outputs, outputs, kernel=3, stride=stride, pad=1, linear=True),
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = ConvNorm(inputs, outputs, stride=stride, linear=True)
        elif stride > 1:
            self.shortcut = nn.MaxPool2d(1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x) + self.shortcut(x)
        return y


class PlainUnit(nn.Module):
    """3x3 with the stride, BN, PReLU, 3x3, BN; PReLU after the sum (arXiv 1512.03385, figure 2)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvNorm(inputs, outputs, kernel=3, stride=stride, pad=1),
            ConvNorm(outputs, outputs, kernel=3, pad=1, linear=True),
        )
        same = inputs == outputs and stride == 1
        self.shortcut: nn.Module = (
            nn.Identity() if same else ConvNorm(inputs, outputs, stride=stride, linear=True)
        )
        self.end = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.end(self.body(x) + self.shortcut(x))
        return y


class IrNet(nn.Module):
    """[b, 3, side, side], values in [-1, 1] -> [b, dimension], not of unit norm.

    `width` scales every channel. Raises ValueError unless `side_px` is a multiple of 16.
    """

    def __init__(self, plan: IrPlan, *, side_px: int = 112, dimension: int = 512, width: float = 1.0) -> None:
        super().__init__()
        if side_px % STRIDE or side_px < 2 * STRIDE:
            raise ValueError(f"side_px is a multiple of {STRIDE}, at least {2 * STRIDE}, got {side_px}")
        self.side_px, self.dimension = side_px, dimension
        channels = [round(c * width) for c in plan.channels]
        # The index in `trunk` of each stage's last unit, for distillation of maps.
        self.ends: list[int] = []
        self.channels = channels
        inputs = channels[0]
        unit = ImprovedUnit if plan.improved else PlainUnit
        layers: list[nn.Module] = [ConvNorm(3, inputs, kernel=3, stride=2 if plan.halved else 1, pad=1)]
        for stage, (outputs, units) in enumerate(zip(channels, plan.units, strict=True)):
            for i in range(units):
                stride = 2 if i == 0 and not (plan.halved and stage == 0) else 1
                layers.append(unit(inputs, outputs, stride=stride))
                inputs = outputs
            self.ends.append(len(layers) - 1)
        self.trunk = nn.Sequential(*layers)
        left = side_px // STRIDE
        if plan.pooled:
            end: list[nn.Module] = [
                ConvNorm(inputs, inputs, kernel=left, groups=inputs, linear=True),
                nn.Flatten(),
                nn.Linear(inputs, dimension, bias=False),
            ]
        else:
            end = [
                SpectralBatchNorm(inputs),
                nn.Dropout(DROPOUT),
                nn.Flatten(),
                nn.Linear(inputs * left * left, dimension),
            ]
        self.head = nn.Sequential(*end, SpectralBatchNorm(dimension))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.trunk(x))
        return y
