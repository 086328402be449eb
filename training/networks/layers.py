"""Normalisation with statistics for each spectrum, and the building blocks of every backbone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from faces.types import Spectrum

BnMode = Literal["separate", "joint", "frozen", "dsbn"]


class SpectralBatchNorm(nn.Module):
    """Batch normalisation with one affine transform and, on request, running statistics per spectrum.

    HSST runs the network on a NIR and a VIS batch in turn, so each is normalised by its own statistics in
    training while one mixed set serves at test time (docs/hsst.md, 4.1). With `split` each spectrum keeps
    its own running statistics, and `route` chooses those in use; without it this is plain batch
    normalisation. Input [b, c] or [b, c, h, w].
    """

    weight: nn.Parameter
    bias: nn.Parameter
    vis_mean: Tensor
    vis_var: Tensor
    nir_mean: Tensor
    nir_var: Tensor

    def __init__(self, channels: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.split = False
        self.frozen = False
        self.spectrum = Spectrum.VIS
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        for name in ("vis", "nir"):
            self.register_buffer(f"{name}_mean", torch.zeros(channels))
            self.register_buffer(f"{name}_var", torch.ones(channels))

    def statistics(self) -> tuple[Tensor, Tensor]:
        """The running mean and variance [c] in use; the mixed ones are stored under `vis`."""
        if self.split and self.spectrum is Spectrum.NIR:
            return self.nir_mean, self.nir_var
        return self.vis_mean, self.vis_var

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.statistics()
        learn = self.training and not self.frozen
        return nn.functional.batch_norm(x, mean, var, self.weight, self.bias, learn, self.momentum, self.eps)


class ConvNorm(nn.Sequential):
    """Convolution, batch normalisation and, unless linear, PReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        pad: int = 0,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, pad, groups=groups, bias=False)
        parts: list[nn.Module] = [conv, SpectralBatchNorm(outputs)]
        super().__init__(*parts, *([] if linear else [nn.PReLU(outputs)]))


def norms(net: nn.Module) -> Iterator[SpectralBatchNorm]:
    return (layer for layer in net.modules() if isinstance(layer, SpectralBatchNorm))


def set_bn_mode(net: nn.Module, mode: BnMode) -> None:
    """Sets the mode of every normalisation layer; `dsbn` copies the mixed statistics to both spectra."""
    for layer in norms(net):
        layer.frozen = mode == "frozen"
        if mode == "dsbn" and not layer.split:
            layer.nir_mean.copy_(layer.vis_mean)
            layer.nir_var.copy_(layer.vis_var)
        layer.split = mode == "dsbn"


@contextmanager
def route(net: nn.Module, spectrum: Spectrum) -> Iterator[None]:
    """Makes layers with statistics for each spectrum use this spectrum's within the block."""
    layers = list(norms(net))
    before = [layer.spectrum for layer in layers]
    for layer in layers:
        layer.spectrum = spectrum
    try:
        yield
    finally:
        for layer, old in zip(layers, before, strict=True):
            layer.spectrum = old


def initialise(net: nn.Module) -> None:
    """He initialisation (arXiv 1502.01852) of every convolution and linear layer; PReLU at 0.25."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def unit_rows(rows: Tensor) -> Tensor:
    """Scales rows [b, d] to unit norm, in float32 whatever the network computes in."""
    return nn.functional.normalize(rows.float(), dim=1)
