"""The graph of an ONNX embedder as plain data, apart from its weights.

A checkpoint stores it, so that an imported network is rebuilt without its ONNX file.
"""

from __future__ import annotations

import re

from faces.strict import Strict

Setting = int | float | str | tuple[int, ...] | tuple[float, ...]


class GraphError(ValueError):
    """An ONNX file contains something that cannot be trained here; the text names it."""


class Node(Strict):
    """One operator. `inputs`: names of its activations; `shapes`: of its weights, by role."""

    op: str
    inputs: tuple[str, ...]
    output: str
    settings: dict[str, Setting] = {}
    shapes: dict[str, tuple[int, ...]] = {}

    @property
    def key(self) -> str:
        """The layer's name in a state dict: the output's name without characters that modules forbid."""
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
