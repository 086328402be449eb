"""Fuses two networks into one: `python -m export --fuse`.

The template of a crop is the weighted concatenation of both networks' unit templates, each of the crop and
its mirror image: a cosine of two such templates is the weighted mean of the networks' own cosines. Where
both together are wider than wanted, the second network's template is first turned into fewer dimensions
by a matrix with orthonormal rows, the principal directions of templates that it is given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from export.graph import ExportError
from faces.types import Pixels, Role
from training.data.network_input import network_input
from training.networks.backbone import BackboneConfig
from training.networks.crop_encoder import Vectors
from training.networks.mirrored import Mirrored

Floats = NDArray[np.float32]
Network: TypeAlias = tuple[nn.Module, BackboneConfig]
ROWS_AT_ONCE = 64
# Of the squared length of the fused network's templates, after they were turned into fewer dimensions.
LEAST_KEPT = 0.999


class Fused(nn.Module):
    """images [B, 3, s, s] in [-1, 1] -> unit rows [B, d1 + d2]. `share`: of the squared norm, that the second
    network has; `basis` [d2, its own dimension]: orthonormal rows, None keeps it as it is."""

    basis: Tensor | None

    def __init__(self, first: nn.Module, second: nn.Module, *, share: float, basis: Tensor | None) -> None:
        super().__init__()
        if not 0.0 < share < 1.0:
            raise ValueError(f"the second network's share lies between 0 and 1, got {share}")
        self.first, self.second = Mirrored(first), Mirrored(second)
        self.weights = (math.sqrt(1.0 - share), math.sqrt(share))
        self.register_buffer("basis", basis)

    def forward(self, images: Tensor) -> Tensor:
        one = functional.normalize(self.first(images))
        two = functional.normalize(self.second(images))
        if self.basis is not None:
            two = functional.normalize(two @ self.basis.T)
        return torch.cat([one * self.weights[0], two * self.weights[1]], dim=1)


def principal(templates: Vectors, dimension: int) -> Tensor:
    """The first directions of unit templates [n, d], about zero: orthonormal rows [dimension, d].

    About zero, because cosines are taken about zero. Raises ExportError for too few templates.
    """
    if len(templates) < dimension or dimension > templates.shape[1]:
        raise ExportError(
            f"{dimension} directions need as many templates and dimensions, not {templates.shape}"
        )
    moment = templates.T.astype(np.float64) @ templates / len(templates)
    _, vectors = np.linalg.eigh(moment)
    rows = vectors[:, ::-1][:, :dimension].T
    return torch.from_numpy(np.ascontiguousarray(rows, np.float32))


def kept_share(templates: Vectors, basis: Tensor) -> float:
    """The mean squared length that the basis keeps of unit templates [n, d]."""
    return float((torch.from_numpy(templates) @ basis.T).square().sum(1).mean())


def mirrored_vectors(net: nn.Module, inputs: Floats) -> Vectors:
    """Unit mirrored templates [n, d] of what a network takes, float32 [n, 3, s, s]."""
    module = Mirrored(net).eval()
    with torch.inference_mode():
        done = [
            functional.normalize(module(torch.from_numpy(inputs[i : i + ROWS_AT_ONCE]))).numpy()
            for i in range(0, len(inputs), ROWS_AT_ONCE)
        ]
    return np.concatenate(done)


def check_pair(one: BackboneConfig, two: BackboneConfig) -> None:
    """Raises ExportError for networks that take different crops."""
    if (one.alignment, one.side_px) != (two.alignment, two.side_px):
        raise ExportError(
            f"one takes {one.alignment} at {one.side_px} px, the other {two.alignment} at {two.side_px} px"
        )


def own_directions(net: nn.Module, config: BackboneConfig, dimension: int, crops: Pixels) -> Tensor | None:
    """Orthonormal rows [dimension, its own] that keep a network's templates; None if it is not wider.

    A network that was taught by a narrower one makes templates in a subspace, whatever it is shown: noise
    finds it. Raises ExportError if `crops` uint8 [n, s, s, 3] lose length by the rows.
    """
    if dimension >= config.dimension:
        return None
    if dimension < 1:
        raise ExportError("no dimension is left for the network that is fused: raise --dimension")
    noise = np.random.default_rng(0).integers(0, 256, (2 * config.dimension, 8, 8, 3), dtype=np.uint8)
    side = crops.shape[1]
    shown = np.stack([cv2.resize(one, (side, side), interpolation=cv2.INTER_CUBIC) for one in noise])
    basis = principal(mirrored_vectors(net, network_input(shown, config.side_px).numpy()), dimension)
    kept = kept_share(mirrored_vectors(net, network_input(crops, config.side_px).numpy()), basis)
    if kept < LEAST_KEPT:
        raise ExportError(
            f"{dimension} dimensions keep {kept:.4f} of the fused network's templates, and {LEAST_KEPT} is"
            " the least: raise --dimension"
        )
    return basis


def fused(
    nets: Mapping[Role, Network], second: Network, crops: Pixels, *, share: float, dimension: int
) -> tuple[dict[Role, nn.Module], BackboneConfig]:
    """Fuses the network of each role with a second one, and says what the results take and give.

    `dimension`: at most, of a fused template. `crops` uint8 [n, s, s, 3]: real or rendered faces that the
    second network's directions are checked on. Raises ExportError.
    """
    first = nets[Role.PROBE][1]
    for _, config in (*nets.values(), second):
        check_pair(first, config)
    left = dimension - first.dimension
    basis = own_directions(*second, left, crops)
    done: dict[int, nn.Module] = {}
    for net, _ in nets.values():
        done.setdefault(id(net), Fused(net, second[0], share=share, basis=basis).eval())
    width = first.dimension + min(left, second[1].dimension)
    return (
        {role: done[id(net)] for role, (net, _) in nets.items()},
        first.model_copy(update={"dimension": width}),
    )
