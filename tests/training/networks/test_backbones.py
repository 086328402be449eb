"""MobileFaceNet and normalisation with statistics for each spectrum."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from faces.types import Spectrum
from training.networks.backbone import BackboneConfig
from training.networks.ir import PLANS, IrNet
from training.networks.layers import SpectralBatchNorm, norms, route, set_bn_mode
from training.networks.mobilefacenet import MobileFaceNet


@pytest.mark.parametrize(("side", "kernel"), [(112, 7), (144, 9), (48, 3)])
def test_the_last_kernel_covers_the_whole_map(side: int, kernel: int) -> None:
    torch.set_num_threads(1)
    net = MobileFaceNet(side_px=side, dimension=512).eval()
    convs = [layer for layer in net.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert convs[-1].kernel_size == (kernel, kernel)
    with torch.no_grad():
        assert net(torch.randn(2, 3, side, side)).shape == (2, 512)


def test_it_has_about_a_million_parameters() -> None:
    assert 0.95e6 < sum(p.numel() for p in MobileFaceNet().parameters()) < 1.3e6


def test_a_size_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        MobileFaceNet(side_px=100)


def test_spectral_norm_is_batch_norm_until_it_is_split() -> None:
    torch.manual_seed(0)
    ours, theirs = SpectralBatchNorm(5), torch.nn.BatchNorm2d(5)
    x = torch.randn(4, 5, 3, 3)
    with route(ours, Spectrum.NIR):
        assert torch.allclose(ours(x), theirs(x), atol=1e-6)
    assert theirs.running_mean is not None
    assert theirs.running_var is not None
    assert torch.allclose(ours.vis_mean, theirs.running_mean)
    assert torch.allclose(ours.vis_var, theirs.running_var)
    assert not bool(ours.nir_mean.any())


def test_split_statistics_start_from_the_mixed_ones_and_part() -> None:
    net = torch.nn.Sequential(SpectralBatchNorm(3))
    net(torch.randn(8, 3) + 5)
    set_bn_mode(net, "dsbn")
    (layer,) = norms(net)
    assert torch.equal(layer.nir_mean, layer.vis_mean)
    with route(net, Spectrum.NIR):
        net(torch.randn(8, 3) - 50)
    assert layer.spectrum is Spectrum.VIS
    assert bool((layer.nir_mean < layer.vis_mean - 4).all())
    net.eval()
    x = torch.randn(2, 3)
    with route(net, Spectrum.NIR):
        nir = net(x)
    assert not torch.allclose(nir, net(x))


@pytest.mark.parametrize(("side_px", "millions"), [(112, 43.59), (144, 51.98)])
def test_ir50_has_the_parameters_of_the_paper(side_px: int, millions: float) -> None:
    """43.59 million at 112 px, as its authors have; at 144 px the last matrix is 81 / 49 as large."""
    net = BackboneConfig(kind="ir50", side_px=side_px).build()
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize("kind", ["ir50", "ir-compact"])
def test_residual_networks_embed_and_learn(kind: Literal["ir50", "ir-compact"]) -> None:
    torch.manual_seed(0)
    net = BackboneConfig(kind=kind, side_px=32, dimension=16, width=0.25).build()
    rows = net(torch.randn(4, 3, 32, 32))
    assert rows.shape == (4, 16)
    rows.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    with pytest.raises(ValueError, match="multiple of 16"):
        IrNet(PLANS[kind], side_px=50)
