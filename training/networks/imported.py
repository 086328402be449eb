"""A trainable network from an ONNX embedder: any graph of the operators of `operators.py`.

Like most published files, the reference embedder has its batch normalisation folded into its convolutions.
The normalisation modes (`separate`, `dsbn`, ...) then have no layer to act upon. `norms` adds a
normalisation layer after every convolution, and `fit_norms` initialises these so that the network computes
the same as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from faces.bundle import Normalisation
from faces.strict import Strict
from training.networks.graph import Graph
from training.networks.layers import SpectralBatchNorm
from training.networks.opencv_resize import resized
from training.networks.operators import layer_of

# Inverts (pixel - 127.5) / 127.5, the input of every network of this project.
HALF_RANGE = 127.5


class ImportedConfig(Strict):
    """The file's graph and its input, from the manifest; see `faces.bundle.EncoderSpec`.

    `width`: the dimension of the file's own output.
    """

    graph: Graph
    columns: tuple[int, int] | None
    input_px: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
    normalisation: Normalisation
    width: Annotated[int, Field(ge=8)]
    norms: bool = False


class ImportedNet(nn.Module):
    """[b, 3, side, side], values in [-1, 1], blue-green-red -> [b, dimension], not of unit norm.

    It crops, resizes and normalises inside, so that it takes the same input as the other backbones. A
    `dimension` above the file's own adds a matrix with orthonormal columns, which keeps all cosines.
    Raises GraphError for an unknown operator, ValueError for a dimension below the file's own.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: ImportedConfig, *, dimension: int) -> None:
        super().__init__()
        if dimension < config.width:
            raise ValueError(
                f"the imported network's dimension is {config.width}: at least that, not {dimension}"
            )
        self.config, self.dimension = config, dimension
        nodes = config.graph.nodes
        self.layers = nn.ModuleDict({node.key: layer_of(node) for node in nodes})
        self.norms = nn.ModuleDict(
            {
                node.key: SpectralBatchNorm(node.shapes["weight"][0])
                for node in nodes
                if config.norms and node.op == "Conv"
            }
        )
        self.register_buffer("mean", torch.tensor(config.normalisation.mean)[:, None, None], persistent=False)
        scale = 1.0 / torch.tensor(config.normalisation.std)[:, None, None]
        self.register_buffer("scale", scale, persistent=False)
        self.head: nn.Module = nn.Identity()
        if dimension > config.width:
            self.head = nn.Linear(config.width, dimension, bias=False)
            # A fixed seed gives the same columns each time: templates of two runs stay comparable.
            chance = torch.Generator().manual_seed(0)
            nn.init.orthogonal_(self.head.weight, generator=chance)
        self._last_use = {name: i for i, node in enumerate(nodes) for name in node.inputs}

    def prepare(self, x: Tensor) -> Tensor:
        """[b, 3, side, side] in [-1, 1] -> input of the file's network, as `faces.preprocess` makes it."""
        pixels = x.float() * HALF_RANGE + HALF_RANGE
        if self.config.columns is not None:
            pixels = pixels[:, :, :, self.config.columns[0] : self.config.columns[1]]
        if tuple(pixels.shape[2:]) != self.config.input_px:
            pixels = resized(pixels, *self.config.input_px)
        return self.normalised(pixels)

    def normalised(self, pixels: Tensor) -> Tensor:
        """[b, 3, h, w] of 0 to 255, blue-green-red, at the file's own size -> input of its network."""
        if self.config.normalisation.order == "rgb":
            pixels = pixels.flip(1)
        return (pixels - self.mean) * self.scale

    def trunk(self, x: Tensor) -> Tensor:
        """Runs the file's network on its own input -> [b, width]."""
        return self.values(x)[self.config.graph.output].flatten(1)

    def values(self, x: Tensor, keep: frozenset[str] = frozenset()) -> dict[str, Tensor]:
        """Runs `trunk`; returns its output and the named values in between, by the file's names."""
        held = {self.config.graph.input: x}
        for i, (node, layer) in enumerate(zip(self.config.graph.nodes, self.layers.values(), strict=True)):
            y = layer(*(held[name] for name in node.inputs))
            if node.key in self.norms:
                y = self.norms[node.key](y)
            held[node.output] = y
            for name in node.inputs:
                if self._last_use[name] == i and name not in keep:
                    held.pop(name, None)
        return held

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.trunk(self.prepare(x)))
        return y

    def homeward(self) -> Tensor:
        """The matrix [width, dimension] from this network's initial output back to the file's own output."""
        if isinstance(self.head, nn.Linear):
            return self.head.weight.detach().T.clone()
        return torch.eye(self.dimension)

    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Loads the weights of `read_graph`; both spectra's statistics start at the file's.

        Raises RuntimeError if a name or a shape differs.
        """
        both = dict(weights)
        for name, value in weights.items():
            stem, dot, leaf = name.rpartition(".")
            if leaf in ("vis_mean", "vis_var"):
                both[stem + dot + leaf.replace("vis", "nir")] = value
        own = self.state_dict()
        kept = {name: own[name] for name in own if not name.startswith("layers.")}
        self.load_state_dict({**kept, **both})


@torch.no_grad()
def fit_norms(net: ImportedNet, batches: Iterable[Tensor]) -> None:
    """Sets the added normalisation to the statistics of images [b, 3, side, side], and its affine part to
    their inverse: with running and with batch statistics the network computes the same as before.

    A layer that starts at mean 0 and variance 1 would change the network, because training normalises.
    """
    sums: dict[str, Tensor] = {}
    squares: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def watch(key: str, x: Tensor) -> None:
        x = x.double()
        sums[key] = sums.get(key, 0) + x.sum(dim=(0, 2, 3))
        squares[key] = squares.get(key, 0) + x.square().sum(dim=(0, 2, 3))
        counts[key] = counts.get(key, 0) + x.shape[0] * x.shape[2] * x.shape[3]

    hooks = [
        norm.register_forward_pre_hook(lambda _, given, key=key: watch(key, given[0]))
        for key, norm in net.norms.items()
    ]
    was = net.training
    net.eval()
    try:
        for images in batches:
            net(images)
    finally:
        net.train(was)
        for hook in hooks:
            hook.remove()
    for key, total in sums.items():
        norm = net.norms[key]
        assert isinstance(norm, SpectralBatchNorm)  # noqa: S101 - what __init__ put there
        mean = total / counts[key]
        variance = (squares[key] / counts[key] - mean.square()).clamp_min(0.0)
        for name, value in (("mean", mean), ("var", variance)):
            getattr(norm, f"vis_{name}").copy_(value)
            getattr(norm, f"nir_{name}").copy_(value)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean)
