"""Reads the graph and the weights of an ONNX embedder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from training.networks.graph import Graph, GraphError, Node, Setting
from training.networks.operator_layers import ARITHMETIC
from training.networks.operators import OPERATORS, unknown_operator

Array = NDArray[Any]
# Exporters leave these between a stored weight and the operator that uses it.
FOLDED = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
FOLDING_OPSET = 18
# The role of each constant input of an operator in the layer that replaces it.
ROLES: Mapping[str, tuple[str, ...]] = {
    "Conv": ("", "weight", "bias"),
    "Gemm": ("", "weight", "bias"),
    "PRelu": ("", "weight"),
    "BatchNormalization": ("", "weight", "bias", "vis_mean", "vis_var"),
}
# Inputs that are settings of the operator and no weights.
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "Clip": ("", "min", "max"),
    "Reshape": ("", "shape"),
    "ReduceMean": ("", "axes"),
    "Dropout": ("", "ratio", "training_mode"),
}


@dataclass(frozen=True, slots=True, eq=False)
class ReadGraph:
    """A graph, and its weights by their names in the state dict of `ImportedNet`."""

    graph: Graph
    weights: Mapping[str, torch.Tensor]


def read_graph(path: Path, *, output: str | None = None) -> ReadGraph:
    """The part of an ONNX file between its one image input and an output, the first if none is named.

    Raises GraphError if the file is no ONNX network with one image input.
    """
    try:
        model = onnx.load(path)
    except (OSError, DecodeError) as error:
        raise GraphError(f"{path.name} is no ONNX file: {type(error).__name__}") from error
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    images = [value.name for value in model.graph.input if value.name not in constants]
    if len(images) != 1 or not model.graph.output:
        raise GraphError(f"{path.name} has {len(images)} inputs; an embedder has one")
    nodes: list[Node] = []
    weights: dict[str, torch.Tensor] = {}
    wanted = output or model.graph.output[0].name
    if wanted not in {value.name for value in model.graph.output}:
        raise GraphError(f"{path.name} has no output {wanted}")
    for proto in _needed(model.graph, wanted):
        if proto.op_type == "Constant":
            constants[proto.output[0]] = _constant(proto)
            continue
        if proto.op_type in FOLDED and all(name in constants for name in proto.input if name):
            constants[proto.output[0]] = _folded(proto, constants)
            continue
        node, own = _read_node(proto, constants)
        nodes.append(node)
        weights |= {f"layers.{node.key}.{role}": _tensor(array) for role, array in own.items()}
    if len({node.key for node in nodes}) < len(nodes):
        raise GraphError(f"{path.name}: two operators have one name")
    graph = Graph(input=images[0], output=wanted, nodes=tuple(nodes))
    return ReadGraph(graph, weights)


def _needed(graph: onnx.GraphProto, output: str) -> list[onnx.NodeProto]:
    """The nodes that the output depends on, in the file's order, which is an order of evaluation."""
    wanted, kept = {output}, []
    for proto in reversed(graph.node):
        if wanted & set(proto.output):
            wanted |= set(proto.input)
            kept.append(proto)
    return kept[::-1]


def _constant(proto: onnx.NodeProto) -> Array:
    attribute = proto.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    return numpy_helper.to_array(value) if attribute.name == "value" else np.asarray(value)


def _folded(proto: onnx.NodeProto, constants: Mapping[str, Array]) -> Array:
    """The value of an operator whose inputs are all stored."""
    names = [name for name in proto.input if name]
    inputs = [helper.make_tensor_value_info(name, _kind(constants[name]), None) for name in names]
    output = onnx.ValueInfoProto(name=proto.output[0])
    graph = helper.make_graph([proto], "folded", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", FOLDING_OPSET)])
    (value,) = ReferenceEvaluator(model).run(None, {name: constants[name] for name in names})
    return np.asarray(value)


def _kind(array: Array) -> int:
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))


def _tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float32))


def _setting(value: Any) -> Setting:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, int | float | str):
        return value
    return tuple(value)


def _read_node(proto: onnx.NodeProto, constants: Mapping[str, Array]) -> tuple[Node, dict[str, Array]]:
    op, name = proto.op_type, proto.output[0]
    if op == "MatMul" and constants.get(proto.input[1], np.empty(0)).ndim == 2:
        op = "Gemm"
    if op not in OPERATORS:
        raise unknown_operator(op, name)
    settings = {a.name: _setting(onnx.helper.get_attribute_value(a)) for a in proto.attribute}
    if op in SETTINGS:
        settings |= {role: _stated(value) for role, value in _roles(proto, SETTINGS[op], constants).items()}
        own: dict[str, Array] = {}
    elif op in ARITHMETIC:
        own, first = _operand(proto, constants)
        settings |= {"value_first": int(first)} if own else {}
    else:
        own = _roles(proto, ROLES.get(op, ("",)), constants)
    if op == "Gemm":
        # Every matrix is stored with a row for each output.
        upright = settings.pop("transB", 0)
        own["weight"] = own["weight"] if upright else own["weight"].T
        own |= {"bias": own["bias"].reshape(-1)} if "bias" in own else {}
    if op == "PRelu":
        own["weight"] = _slopes(own["weight"], name)
    shapes = {role: tuple(array.shape) for role, array in own.items()}
    activations = tuple(i for i in proto.input if i and i not in constants)
    return Node(op=op, inputs=activations, output=name, settings=settings, shapes=shapes), own


def _roles(proto: onnx.NodeProto, roles: tuple[str, ...], constants: Mapping[str, Array]) -> dict[str, Array]:
    """The stored inputs by role; an input without a role is an activation, which is not stored."""
    found = {}
    for i, given in enumerate(proto.input):
        role = roles[min(i, len(roles) - 1)]
        if given and bool(role) != (given in constants):
            how = "is computed, not stored" if role else "is stored, not computed"
            raise GraphError(f"{proto.op_type} {proto.output[0]}: its {role or 'input'} {how}")
        if given and role:
            found[role] = constants[given]
    return found


def _operand(proto: onnx.NodeProto, constants: Mapping[str, Array]) -> tuple[dict[str, Array], bool]:
    """The stored operand of an arithmetic operator, if there is one, and whether it is the first."""
    stored = [given for given in proto.input if given in constants]
    if len(stored) == 2:
        raise GraphError(f"{proto.op_type} {proto.output[0]}: both operands are stored; simplify the file")
    return ({"value": constants[stored[0]]}, stored[0] == proto.input[0]) if stored else ({}, False)


def _slopes(array: Array, name: str) -> Array:
    """A value for each channel [c], or one for all [1]."""
    if array.size > 1 and array.shape[-2:] != (1, 1):
        raise GraphError(f"PRelu {name}: slopes of shape {array.shape} are not those of channels")
    return array.reshape(-1)


def _stated(array: Array) -> Setting:
    value = array.tolist()
    return tuple(value) if isinstance(value, list) else _setting(value)
