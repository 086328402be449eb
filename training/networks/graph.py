"""The graph of an ONNX embedder as plain data, apart from its weights.

It is stored with a checkpoint, so that an imported network is built again without the file it came from.
"""

from __future__ import annotations

import re

from faces.strict import Strict

Setting = int | float | str | tuple[int, ...] | tuple[float, ...]


class GraphError(ValueError):
    """An ONNX file holds something that cannot be trained here. The text names it."""


class Node(Strict):
    """One operator. `inputs`: the activations it takes; `shapes`: of its weights, by role."""

    op: str
    inputs: tuple[str, ...]
    output: str
    settings: dict[str, Setting] = {}
    shapes: dict[str, tuple[int, ...]] = {}

    @property
    def key(self) -> str:
        """The layer's name in a state dict: the output's, without what a module's name may not hold."""
        return "at_" + re.sub(r"\W", "_", self.output)

    def number(self, name: str, default: float) -> float:
        value = self.settings.get(name, default)
        if not isinstance(value, int | float):
            raise GraphError(f"{self.op} {self.output}: {name} is a number")
        return value

    def numbers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        value = self.settings.get(name, default)
        if not isinstance(value, tuple):
            raise GraphError(f"{self.op} {self.output}: {name} is a list")
        return tuple(int(v) for v in value)


class Graph(Strict):
    """One image in, one embedding out."""

    input: str
    output: str
    nodes: tuple[Node, ...]
