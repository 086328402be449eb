"""A TensorFlow Lite network as an ONNX model: channels first, any number of images at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.networks.convert.tflite import Array, LiteGraph, Operator, Tensor
from training.networks.graph import GraphError

OPSET, IR_VERSION = 13, 8
TO_LAST = (0, 2, 3, 1)


def lite_to_onnx(graph: LiteGraph) -> onnx.ModelProto:
    """Input `t<number>` float32 [batch, 3, rows, columns]; outputs are named `out_` and the source's name.

    An output that the source states as [1, 1, 1, n] becomes [batch, n]. Raises GraphError for what is not
    known here.
    """
    return _Conversion(graph).model()


class _Conversion:
    def __init__(self, graph: LiteGraph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []
        # Values that are computed from stored ones alone.
        self.known: dict[int, Array] = {
            i: tensor.value for i, tensor in enumerate(graph.tensors) if tensor.value is not None
        }
        self.intermediate = 0

    def model(self) -> onnx.ModelProto:
        steps: Mapping[str, Callable[[Operator], None]] = {
            "add": self._add,
            "concatenation": self._concatenation,
            "convolution": self._convolution,
            "depthwise convolution": self._convolution,
            "dequantise": self._dequantise,
            "logistic": self._logistic,
            "max pool": self._max_pool,
            "reshape": self._reshape,
            "pad": self._pad,
            "prelu": self._prelu,
        }
        (image,) = self.graph.inputs
        for operator in self.graph.operators:
            steps[operator.kind](operator)
        outputs = [self._output(number) for number in self.graph.outputs]
        _, rows, columns, channels = self._shape(image)
        given = helper.make_tensor_value_info(
            f"t{image}", TensorProto.FLOAT, ["batch", channels, rows, columns]
        )
        proto = helper.make_graph(self.nodes, "tfl", [given], outputs, self.stored)
        model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        return model

    def _tensor(self, number: int) -> Tensor:
        return self.graph.tensors[number]

    def _shape(self, number: int) -> tuple[int, ...]:
        return self._tensor(number).shape

    def _store(self, name: str, value: Array) -> str:
        self.stored.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _node(self, kind: str, inputs: Sequence[str], output: str, **settings: Any) -> None:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **settings))

    def _temporary(self) -> str:
        self.intermediate += 1
        return f"tmp{self.intermediate}"

    def _value(self, number: int) -> Array:
        if number not in self.known:
            raise GraphError(f"{self._tensor(number).name} is computed, where a stored value is expected")
        return self.known[number]

    def _activated(self, operator: Operator, kind: str, inputs: Sequence[str], **settings: Any) -> None:
        """An operator and its activation."""
        between = self._temporary()
        self._node(kind, inputs, between, **settings)
        if operator.activation == "Relu6":
            raise GraphError("an activation that is clipped at 6 is not known here")
        self._node(operator.activation, [between], f"t{operator.output}")

    def _dequantise(self, operator: Operator) -> None:
        self.known[operator.output] = self._value(operator.inputs[0]).astype(np.float32)

    def _convolution(self, operator: Operator) -> None:
        image, kernel, bias = operator.inputs
        weights = self._value(kernel)
        rows, columns = weights.shape[1:3]
        if operator.kind == "convolution":
            groups, weights = 1, weights.transpose(0, 3, 1, 2)
        else:
            groups, weights = weights.shape[3], weights.transpose(3, 0, 1, 2)
            if groups != self._shape(image)[3]:
                raise GraphError("a depthwise convolution that adds channels is not known here")
        names = [
            f"t{image}",
            self._store(f"w{operator.output}", weights),
            self._store(f"b{operator.output}", self._value(bias)),
        ]
        self._activated(
            operator,
            "Conv",
            names,
            group=groups,
            kernel_shape=[rows, columns],
            pads=self._pads(operator, (rows, columns)),
            strides=list(operator.strides),
        )

    def _pads(self, operator: Operator, window: tuple[int, int]) -> list[int]:
        """TensorFlow's `SAME`: as much as the last window needs, the odd pixel at the end."""
        if not operator.same:
            return [0, 0, 0, 0]
        sides = zip(self._shape(operator.inputs[0])[1:3], window, operator.strides, strict=True)
        needed = [max(0, (-(-side // step) - 1) * step + size - side) for side, size, step in sides]
        return [n // 2 for n in needed] + [n - n // 2 for n in needed]

    def _max_pool(self, operator: Operator) -> None:
        self._activated(
            operator,
            "MaxPool",
            [f"t{operator.inputs[0]}"],
            kernel_shape=list(operator.window),
            pads=self._pads(operator, operator.window),
            strides=list(operator.strides),
        )

    def _prelu(self, operator: Operator) -> None:
        image, slopes = operator.inputs
        value = self._value(slopes)
        if value.shape[:2] != (1, 1):
            raise GraphError("slopes that differ by place are not known here")
        name = self._store(f"p{operator.output}", value.reshape(-1, 1, 1))
        self._node("PRelu", [f"t{image}", name], f"t{operator.output}")

    def _add(self, operator: Operator) -> None:
        self._activated(operator, "Add", [f"t{number}" for number in operator.inputs])

    def _pad(self, operator: Operator) -> None:
        image, amounts = operator.inputs
        before, after = self._value(amounts)[[0, 3, 1, 2]].T
        pads = np.concatenate([before, after]).astype(np.int64)
        names = [
            self._store(f"pd{operator.output}", pads),
            self._store(f"pz{operator.output}", np.array(0.0, np.float32)),
        ]
        self._node("Pad", [f"t{image}", *names], f"t{operator.output}")

    def _logistic(self, operator: Operator) -> None:
        self._node("Sigmoid", [f"t{operator.inputs[0]}"], f"t{operator.output}")

    def _reshape(self, operator: Operator) -> None:
        last, shape = self._temporary(), self._shape(operator.output)
        self._node("Transpose", [f"t{operator.inputs[0]}"], last, perm=list(TO_LAST))
        name = self._store(f"rs{operator.output}", np.array([-1, *shape[1:]], np.int64))
        self._node("Reshape", [last, name], f"t{operator.output}")

    def _concatenation(self, operator: Operator) -> None:
        if len(self._shape(operator.output)) == 4:
            raise GraphError("maps that are joined are not known here")
        names = [f"t{number}" for number in operator.inputs]
        self._node("Concat", names, f"t{operator.output}", axis=operator.axis)

    def _output(self, number: int) -> onnx.ValueInfoProto:
        name, shape = f"out_{self._tensor(number).name}", self._shape(number)
        if len(shape) == 4:
            if shape[1:3] != (1, 1):
                raise GraphError(f"output {name} is a map; vectors and lists are known here")
            self._node("Transpose", [f"t{number}"], f"t{number}_n", perm=list(TO_LAST))
            self._node("Flatten", [f"t{number}_n"], name)
            shape = (1, shape[3])
        else:
            self._node("Identity", [f"t{number}"], name)
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape[1:]])
