"""An embedder of OpenVINO's intermediate representation as an ONNX model.

Operators are numbered in their order; a bias is part of its convolution, a shift part of its scale. The
representation may write them apart, or give the operands of a sum in any order: the result is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.networks.convert.lite_onnx import IR_VERSION, OPSET
from training.networks.convert.openvino import Array, Layer
from training.networks.graph import GraphError

INPUT, OUTPUT = "n0", "output"
CONVOLUTIONS = frozenset({"Convolution", "GroupConvolution"})
SUMS: Mapping[str, str] = {"Multiply": "Mul", "Add": "Add"}


def representation_to_onnx(layers: Sequence[Layer]) -> onnx.ModelProto:
    """Input `n0` float32 [batch, 3, rows, columns], output `output` float32 [batch, dimension].

    Raises GraphError for a layer that is not known here, which it names.
    """
    return _Conversion(layers).model()


class _Conversion:
    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = {layer.number: layer for layer in layers}
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []
        self.known: dict[int, Array] = {}
        # The number of the operator that gives a layer's output; 0 is the image.
        self.named: dict[int, int] = {}
        self.count = 0
        self.takers: dict[int, list[Layer]] = {}
        for layer in layers:
            for number in layer.inputs:
                self.takers.setdefault(number, []).append(layer)

    def model(self) -> onnx.ModelProto:
        (image,) = (layer for layer in self.layers.values() if layer.kind == "Parameter")
        for layer in self.layers.values():
            self._convert(layer)
        (result,) = (layer for layer in self.layers.values() if layer.kind == "Result")
        source = self.layers[result.inputs[0]]
        if len(source.shape) != 4 or source.shape[2:] != (1, 1):
            raise GraphError(f"the output is {source.shape}, no vector of each image")
        self._node("Flatten", [self._name(source.number)], OUTPUT)
        given = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", *image.shape[1:]])
        made = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", source.shape[1]])
        graph = helper.make_graph(self.nodes, "ir", [given], [made], self.stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        return model

    def _node(self, kind: str, inputs: Sequence[str], output: str, **settings: Any) -> None:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **settings))

    def _store(self, name: str, value: Array) -> str:
        self.stored.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name

    def _name(self, layer: int) -> str:
        return f"n{self.named[layer]}"

    def _next(self, layer: Layer) -> str:
        self.count += 1
        self.named[layer.number] = self.count
        return f"n{self.count}"

    def _convert(self, layer: Layer) -> None:
        if layer.number in self.named or layer.kind == "Result":
            return
        if layer.kind == "Parameter":
            self.named[layer.number] = 0
        elif layer.value is not None:
            self.known[layer.number] = layer.value
        elif layer.kind == "Convert" and layer.inputs[0] in self.known:
            self.known[layer.number] = self.known[layer.inputs[0]].astype(np.float32)
        elif layer.kind in CONVOLUTIONS:
            self._convolution(layer)
        elif layer.kind in SUMS:
            self._sum(layer)
        elif layer.kind == "PReLU":
            image, slopes = layer.inputs
            name = self._next(layer)
            self._node("PRelu", [self._name(image), self._store(f"{name}w", self._channels(slopes))], name)
        elif layer.kind == "Sigmoid":
            self._node("Sigmoid", [self._name(layer.inputs[0])], self._next(layer))
        elif layer.kind == "AvgPool":
            self._pool(layer)
        else:
            raise GraphError(f"layer {layer.number} is a {layer.kind}, which is not known here")

    def _channels(self, number: int) -> Array:
        """A stored value of one number for each channel, or one for all: [channels, 1, 1]."""
        if number not in self.known:
            raise GraphError(f"layer {number} is computed, where a stored value is expected")
        return self.known[number].reshape(-1, 1, 1)

    def _stored_operand(self, layer: Layer) -> tuple[int | None, int]:
        """Of a sum or product: the stored operand, if there is one, and the other."""
        stored = [number for number in layer.inputs if number in self.known]
        rest = [number for number in layer.inputs if number not in self.known]
        return (stored[0], rest[0]) if stored else (None, rest[0])

    def _follower(self, layer: Layer) -> tuple[Layer, int] | None:
        """The sum with a stored value that alone takes this layer's output, and that value's number."""
        takers = self.takers.get(layer.number, [])
        if len(takers) != 1 or takers[0].kind != "Add":
            return None
        stored, _ = self._stored_operand(takers[0])
        return None if stored is None else (takers[0], stored)

    def _convolution(self, layer: Layer) -> None:
        if layer.settings.get("auto_pad", "explicit") not in ("explicit", "notset"):
            raise GraphError(f"layer {layer.number} does not state its padding")
        image, kernel = layer.inputs
        if kernel not in self.known:
            raise GraphError(f"layer {layer.number}: its kernel is computed, not stored")
        weights, groups = self.known[kernel], 1
        if layer.kind == "GroupConvolution":
            groups = weights.shape[0]
            weights = weights.reshape(-1, *weights.shape[2:])
        source, name = self._name(image), self._next(layer)
        names = [source, self._store(f"{name}w", weights)]
        if (follower := self._follower(layer)) is not None:
            names.append(self._store(f"{name}b", self._channels(follower[1]).reshape(-1)))
            self.named[follower[0].number] = self.count
        self._node(
            "Conv",
            names,
            name,
            dilations=layer.numbers("dilations"),
            group=groups,
            kernel_shape=list(weights.shape[2:]),
            pads=layer.numbers("pads_begin") + layer.numbers("pads_end"),
            strides=layer.numbers("strides"),
        )

    def _sum(self, layer: Layer) -> None:
        stored, other = self._stored_operand(layer)
        if stored is None:
            inputs = sorted(self.named[number] for number in layer.inputs)
            self._node(SUMS[layer.kind], [f"n{number}" for number in inputs], self._next(layer))
            return
        follower = self._follower(layer) if layer.kind == "Multiply" else None
        source, name = self._name(other), self._next(layer)
        value = self._channels(stored)
        if follower is None:
            self._node(SUMS[layer.kind], [source, self._store(f"{name}w", value)], name)
            return
        self._node("Mul", [source, self._store(f"{name}w", value)], f"{name}m")
        self._node("Add", [f"{name}m", self._store(f"{name}b", self._channels(follower[1]))], name)
        self.named[follower[0].number] = self.count

    def _pool(self, layer: Layer) -> None:
        if layer.settings.get("rounding_type", "floor") != "floor" or any(
            layer.numbers("pads_begin") + layer.numbers("pads_end")
        ):
            raise GraphError(f"layer {layer.number}: a pool with a border is not known here")
        self._node(
            "AveragePool",
            [self._name(layer.inputs[0])],
            self._next(layer),
            ceil_mode=0,
            kernel_shape=layer.numbers("kernel"),
            pads=[0, 0, 0, 0],
            strides=layer.numbers("strides"),
        )
