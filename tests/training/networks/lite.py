"""Writes a detector as a TensorFlow Lite file, to test its reader."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, shape_inference

# The number of a field -> its value: (kind, number), bytes, integers, a table or tables.
Fields = Mapping[int, Any]
CODES = {"Conv": 3, "MaxPool": 17, "Sigmoid": 14, "Concat": 2, "Reshape": 22}


def flat(fields: Fields, identifier: bytes) -> bytes:
    """A FlatBuffers file: every table follows what points to it."""
    out = bytearray(struct.pack("<I", 0) + identifier)
    struct.pack_into("<I", out, 0, _table(out, fields))
    return bytes(out)


def _table(out: bytearray, fields: Fields) -> int:
    """Appends a table and everything below it; returns its place."""
    count = max(fields, default=-1) + 1
    places = {number: 4 + 4 * i for i, number in enumerate(sorted(fields))}
    start = len(out)
    out += struct.pack("<HH", 4 + 2 * count, 4 + 4 * len(fields))
    out += b"".join(struct.pack("<H", places.get(number, 0)) for number in range(count))
    at = len(out)
    out += struct.pack("<i", at - start) + bytes(4 * len(fields))
    for number, value in fields.items():
        place = at + places[number]
        if isinstance(value, tuple) and isinstance(value[0], str):
            struct.pack_into(f"<{value[0]}", out, place, value[1])
        else:
            struct.pack_into("<I", out, place, _value(out, value) - place)
    return at


def _value(out: bytearray, value: Any) -> int:
    if isinstance(value, Mapping):
        return _table(out, value)
    at = len(out)
    out += struct.pack("<I", len(value))
    if isinstance(value, bytes):
        out += value
    elif value and isinstance(value[0], Mapping):
        out += bytes(4 * len(value))
        for i, table in enumerate(value):
            place = at + 4 + 4 * i
            struct.pack_into("<I", out, place, _table(out, table) - place)
    else:
        out += struct.pack(f"<{len(value)}i", *value)
    return at


class Lite:
    """Tensors, buffers and operators of one graph; tensor numbers are those of the ONNX file's names."""

    def __init__(self, tensors: int) -> None:
        self.tensors: list[Fields] = [{3: b"unused"}] * tensors
        self.buffers: list[Fields] = [{}]
        self.operators: list[Fields] = []
        self.outputs: list[int] = []

    def stored(self, value: NDArray[Any]) -> int:
        kind = 2 if value.dtype == np.int32 else 0
        self.buffers.append({0: np.ascontiguousarray(value).tobytes()})
        self.tensors.append(
            {0: list(value.shape), 1: ("b", kind), 2: ("I", len(self.buffers) - 1), 3: b"stored"}
        )
        return len(self.tensors) - 1

    def operator(self, kind: str, inputs: Sequence[int], output: int, options: Fields) -> None:
        code = list(CODES).index(kind)
        self.operators.append({0: ("I", code), 1: list(inputs), 2: [output], 4: options})

    def content(self, image: int = 70) -> bytes:
        graph = {0: self.tensors, 1: [image], 2: self.outputs, 3: self.operators}
        codes = [{0: ("b", number), 3: ("i", number)} for number in CODES.values()]
        return flat({0: ("I", 3), 1: codes, 2: [graph], 4: self.buffers}, b"TFL3")

    @classmethod
    def of_detector(cls, model: onnx.ModelProto) -> Lite:
        """A detector whose tensors are `t<number>`, as the masked-face classifier's."""
        known = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
        shapes = _shapes(model)
        lite = cls(118)
        nodes = list(model.graph.node)
        for i, node in enumerate(nodes):
            settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            source = (
                int(node.input[0][1:]) if node.input[0].startswith("t") and "mp" not in node.input[0] else -1
            )
            output = nodes[i + 1].output[0] if node.output[0].startswith("tmp") else node.output[0]
            if node.op_type in ("Conv", "MaxPool"):
                number = int(output[1:])
                same = any(settings["pads"])
                rows, columns = settings["strides"]
                options: dict[int, Any] = {0: ("b", 0 if same else 1), 1: ("i", columns), 2: ("i", rows)}
                if node.op_type == "Conv":
                    weights, bias = (known[name] for name in node.input[1:])
                    options[3] = ("b", 1 if nodes[i + 1].op_type == "Relu" else 0)
                    inputs = [source, lite.stored(weights.transpose(0, 2, 3, 1)), lite.stored(bias)]
                else:
                    height, width = settings["kernel_shape"]
                    options |= {3: ("i", width), 4: ("i", height)}
                    inputs = [source]
                lite.operator(node.op_type, inputs, number, options)
            elif node.op_type == "Reshape":
                number = int(output[1:])
                source = int(nodes[i - 1].input[0][1:])
                shape = lite.stored(np.array(shapes[output], np.int32))
                lite.operator("Reshape", [source, shape], number, {})
            elif node.op_type in ("Sigmoid", "Concat"):
                number = int(output[1:])
                options = {0: ("i", settings["axis"])} if node.op_type == "Concat" else {}
                lite.operator(node.op_type, [int(name[1:]) for name in node.input], number, options)
            elif node.op_type == "Identity" and node.output[0].startswith("out_"):
                lite.tensors[source] = {**lite.tensors[source], 3: node.output[0][4:].encode()}
                lite.outputs.append(source)
                continue
            else:
                continue
            lite.tensors[number] = {0: shapes[output], 1: ("b", 0), 2: ("I", 0), 3: b"computed"}
        image = model.graph.input[0].name
        lite.tensors[int(image[1:])] = {0: shapes[image], 1: ("b", 0), 2: ("I", 0), 3: b"image"}
        return lite


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """The shape of every value with channels last."""
    graph = shape_inference.infer_shapes(model).graph
    found = {}
    for value in (*graph.value_info, *graph.input, *graph.output):
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        found[value.name] = [shape[0], *shape[2:], shape[1]] if len(shape) == 4 else shape
    return found
