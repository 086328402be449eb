"""Reads a TensorFlow Lite network: its tensors, stored values and operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.networks.convert.flatbuffer import FlatBufferError, Table, root
from training.networks.graph import GraphError

Array = NDArray[Any]
# Numbers of TensorFlow's schema.fbs (version 3).
IDENTIFIER = b"TFL3"
KINDS: Mapping[int, str] = {0: "<f4", 1: "<f2", 2: "<i4"}
OPERATORS: Mapping[int, str] = {
    0: "add",
    2: "concatenation",
    3: "convolution",
    4: "depthwise convolution",
    6: "dequantise",
    14: "logistic",
    17: "max pool",
    22: "reshape",
    34: "pad",
    54: "prelu",
}
ACTIVATIONS: Mapping[int, str] = {0: "Identity", 1: "Relu", 3: "Relu6"}
# The field of an operator's options that holds its activation.
ACTIVATION_FIELD: Mapping[str, int] = {
    "add": 0,
    "concatenation": 1,
    "convolution": 3,
    "depthwise convolution": 4,
    "max pool": 5,
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """`shape`: with channels last; `value`: None for what is computed."""

    name: str
    shape: tuple[int, ...]
    value: Array | None


@dataclass(frozen=True, slots=True)
class Operator:
    """`inputs` and `output` number the tensors. `strides` and `window` are (rows, columns)."""

    kind: str
    inputs: tuple[int, ...]
    output: int
    activation: str
    same: bool
    strides: tuple[int, int]
    window: tuple[int, int]
    axis: int


@dataclass(frozen=True, slots=True)
class LiteGraph:
    """Operators stand in an order of evaluation."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_lite(data: bytes) -> LiteGraph:
    """Raises GraphError if the bytes are no TensorFlow Lite network of known operators."""
    try:
        model = root(data, IDENTIFIER)
        codes = [_code(table) for table in model.tables(1)]
        (graph,) = model.tables(2)
        buffers = [table.content(0) for table in model.tables(4)]
        tensors = tuple(_tensor(table, buffers) for table in graph.tables(0))
        operators = tuple(_operator(table, codes) for table in graph.tables(3))
        return LiteGraph(tensors, operators, graph.integers(1), graph.integers(2))
    except (FlatBufferError, IndexError, ValueError) as error:
        raise GraphError(f"no TensorFlow Lite network that can be read: {error}") from error


def _code(table: Table) -> int:
    # Old files have the number in one byte alone.
    return max(table.scalar(0, "b"), table.scalar(3, "i"))


def _tensor(table: Table, buffers: list[bytes]) -> Tensor:
    shape, kind = table.integers(0), table.scalar(1, "b")
    name, stored = table.content(3).decode(), buffers[table.scalar(2, "I")]
    if not stored:
        return Tensor(name, shape, None)
    if kind not in KINDS:
        raise FlatBufferError(f"tensor {name} has values of kind {kind}")
    return Tensor(name, shape, np.frombuffer(stored, KINDS[kind]).reshape(shape))


def _operator(table: Table, codes: list[int]) -> Operator:
    code = codes[table.scalar(0, "I")]
    if code not in OPERATORS:
        raise FlatBufferError(f"operator {code} is not known here")
    kind, options = OPERATORS[code], table.table(4) or Table(b"\x04\0\4\0\4\0\0\0", 4)
    activation = options.scalar(ACTIVATION_FIELD[kind], "b") if kind in ACTIVATION_FIELD else 0
    if activation not in ACTIVATIONS:
        raise FlatBufferError(f"activation {activation} of a {kind} is not known here")
    windowed = kind in ("convolution", "depthwise convolution", "max pool")
    if windowed and kind != "max pool":
        first = 4 if kind == "convolution" else 5
        if any(options.scalar(field, "i", 1) != 1 for field in (first, first + 1)):
            raise FlatBufferError(f"a {kind} with gaps is not known here")
    (output,) = table.integers(2)
    return Operator(
        kind=kind,
        inputs=table.integers(1),
        output=output,
        activation=ACTIVATIONS[activation],
        same=windowed and options.scalar(0, "b") == 0,
        strides=(options.scalar(2, "i"), options.scalar(1, "i")) if windowed else (1, 1),
        window=(options.scalar(4, "i"), options.scalar(3, "i")) if kind == "max pool" else (1, 1),
        axis=options.scalar(0, "i") if kind == "concatenation" else 0,
    )
