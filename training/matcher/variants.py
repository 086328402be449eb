"""Measures what a fused template loses with one pass less: either network without its mirrored pass."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import torch

from faces.types import Spectrum
from training.data.records import DataSetError
from training.matcher.measure import Embed, System
from training.matcher.teacher import templates
from training.networks.checkpoint import load_network
from training.networks.imported import ImportedNet
from training.networks.mirrored import Mirrored
from training.networks.torch_encoder import TorchEncoder

PLAIN = "-plain"


def trunk_embeds(name: str, path: Path) -> dict[str, Embed]:
    """A network of `matcher train` or `mix`, mirrored and plain. Raises DataSetError for another kind."""
    net, _ = load_network(path)
    if not isinstance(net, ImportedNet):
        raise DataSetError(f"{path.name} is no encoder of `matcher train` or `matcher mix`")
    net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return {
        name: lambda crops: templates(net, crops),
        name + PLAIN: lambda crops: templates(net, crops, mirrored=False),
    }


def second_embeds(name: str, path: Path) -> dict[str, Embed]:
    """The network beside both, mirrored and plain. Raises DataSetError if it is no checkpoint."""
    net, config = load_network(path)
    both = TorchEncoder(Mirrored(net), config, name=name)
    one = TorchEncoder(net, config, name=name)
    return {
        name: lambda crops: both.embed(crops, Spectrum.NIR),
        name + PLAIN: lambda crops: one.embed(crops, Spectrum.NIR),
    }


def fusions(reference: str, probe: str, second: str, share: float) -> list[System]:
    """The probes' network alone, and fused in each of four ways: with and without mirrored passes."""
    made = [System(f"{reference}/{probe}", reference, reference, probe)]
    for first, other in product(("", PLAIN), ("", PLAIN)):
        passes = (1 if first else 2, 1 if other else 2)
        made.append(
            System(
                f"{passes[0]} + {passes[1]} passes, share {share:g}",
                reference + first,
                reference + first,
                probe + first,
                second + other,
                share,
            )
        )
    return made
