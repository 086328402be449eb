"""Fuses two networks into one file: `python -m export.fuse`.

The template of a crop is the weighted concatenation of both networks' unit templates, each of the crop and
its mirror image: a cosine of two such templates is the weighted mean of the networks' own cosines. Where
both together are wider than wanted, the second network's template is first turned into fewer dimensions
by a matrix with orthonormal rows, the principal directions of templates that it is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from export.graph import ExportError, export_graph
from faces.types import Role
from training.cli.errors import exit_on_user_error
from training.data.network_input import network_input
from training.data.prepared import read_prepared
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import load_network
from training.networks.crop_encoder import Vectors
from training.networks.mirrored import Mirrored
from training.networks.onnx_import import import_bundle

Floats = NDArray[np.float32]
ROWS_AT_ONCE = 64


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


def fuse(
    first: tuple[nn.Module, BackboneConfig],
    second: tuple[nn.Module, BackboneConfig],
    out: Path,
    *,
    share: float,
    basis: Tensor | None,
    role: Role,
) -> Fused:
    """Write the fused network's file. Raises ExportError."""
    check_pair(first[1], second[1])
    net = Fused(first[0], second[0], share=share, basis=basis).eval()
    export_graph(net, out, side_px=first[1].side_px, role=role)
    return net


def _network(path: Path) -> tuple[nn.Module, BackboneConfig]:
    """A checkpoint, or the embedder of a bundle's folder."""
    return import_bundle(path) if path.is_dir() else load_network(path)


def main(
    reference: Annotated[Path, typer.Argument(help="checkpoint or bundle: references and clear probes")],
    probe: Annotated[Path, typer.Argument(help="checkpoint or bundle: masked and NIR probes")],
    second: Annotated[Path, typer.Argument(help="checkpoint of the network beside both")],
    out: Annotated[Path, typer.Argument(help="folder of encoder-reference.onnx and encoder-probe.onnx")],
    crops: Annotated[list[Path], typer.Option(help="prepared set that the directions are drawn from")],
    share: Annotated[float, typer.Option(help="of the second network in the squared norm")] = 0.3,
    dimension: Annotated[int, typer.Option(help="of the fused template")] = 512,
) -> None:
    """Two files, one for each role, whose second half is the same network."""
    console = Console(stderr=True)
    with exit_on_user_error(ExportError, ValueError):
        nets = {Role.REFERENCE: _network(reference), Role.PROBE: _network(probe)}
        beside = _network(second)
        left = dimension - nets[Role.PROBE][1].dimension
        basis = None
        if left < beside[1].dimension:
            templates = mirrored_vectors(beside[0], _inputs(crops, beside[1].side_px))
            basis = principal(templates, left)
            console.print(f"the directions keep {100 * kept_share(templates, basis):.1f} % of the templates")
        out.mkdir(parents=True, exist_ok=True)
        for role, net in nets.items():
            fuse(net, beside, out / f"encoder-{role.value}.onnx", share=share, basis=basis, role=role)


def _inputs(sets: Sequence[Path], side_px: int) -> Floats:
    pixels = []
    for root in sets:
        prepared = read_prepared(root)
        pixels.append(prepared.crops(range(len(prepared.rows))))
    inputs: Floats = network_input(np.concatenate(pixels), side_px).numpy()
    return inputs


if __name__ == "__main__":
    typer.run(main)
