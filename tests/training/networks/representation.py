"""Writes an ONNX embedder as OpenVINO's intermediate representation, version 10, to test its reader.

It writes as OpenVINO's own converter does: stored values are layers, biases are sums apart, a depthwise
kernel has five dimensions, and slopes are float32 in a file of half floats.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Array = NDArray[Any]


class Writer:
    """Layers are numbered as they are added; every layer has one output."""

    def __init__(self) -> None:
        self.layers = ElementTree.Element("layers")
        self.edges = ElementTree.Element("edges")
        self.weights = bytearray()
        self.count = 0

    def layer(self, kind: str, inputs: Sequence[int], sizes: Sequence[int], **data: object) -> int:
        number, self.count = self.count, self.count + 1
        element = ElementTree.SubElement(
            self.layers, "layer", id=str(number), name=f"{kind}_{number}", type=kind, version="opset1"
        )
        if data:
            ElementTree.SubElement(element, "data", {key: str(value) for key, value in data.items()})
        if kind != "Result":
            port = ElementTree.SubElement(ElementTree.SubElement(element, "output"), "port", id="9")
            for size in sizes:
                ElementTree.SubElement(port, "dim").text = str(size)
        for port_number, source in enumerate(inputs):
            edge = {"from-layer": source, "from-port": 9, "to-layer": number, "to-port": port_number}
            ElementTree.SubElement(self.edges, "edge", {key: str(value) for key, value in edge.items()})
        return number

    def const(self, value: Array, *, kind: str = "f16") -> int:
        stored = value.astype("<f2" if kind == "f16" else "<f4").tobytes()
        offset = len(self.weights)
        self.weights += stored
        shape = ",".join(map(str, value.shape))
        return self.layer(
            "Const", [], value.shape, element_type=kind, offset=offset, shape=shape, size=len(stored)
        )

    def save(self, folder: Path, *, version: str = "10") -> tuple[Path, Path]:
        net = ElementTree.Element("net", name="an embedder", version=version)
        net.extend([self.layers, self.edges])
        description, weights = folder / "net.xml", folder / "net.bin"
        ElementTree.ElementTree(net).write(description)
        weights.write_bytes(bytes(self.weights))
        return description, weights


def write_representation(model: onnx.ModelProto, folder: Path) -> tuple[Path, Path]:
    """Writes `net.xml` and `net.bin`. Sums get their operands in reverse."""
    writer = Writer()
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    image = model.graph.input[0]
    shape = [1, *(dim.dim_value for dim in image.type.tensor_type.shape.dim[1:])]
    made = {image.name: writer.layer("Parameter", [], shape, element_type="f32")}
    shapes = {image.name: shape}
    for node in model.graph.node:
        settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        first = node.input[0]
        source, size = made[first], shapes[first]
        if node.op_type == "Conv":
            number, size = _convolution(writer, node, settings, stored, source, size)
        elif node.op_type == "PRelu":
            slopes = writer.const(stored[node.input[1]].reshape(1, -1, 1, 1), kind="f32")
            number = writer.layer("PReLU", [source, slopes], size)
        elif node.op_type == "AveragePool":
            kernel = settings["kernel_shape"]
            size = [*size[:2], size[2] // kernel[0], size[3] // kernel[1]]
            number = writer.layer(
                "AvgPool", [source], size, kernel=_text(kernel), strides=_text(settings["strides"]),
                pads_begin="0,0", pads_end="0,0", rounding_type="floor",
            )  # fmt: skip
        elif node.op_type in ("Mul", "Add"):
            second = node.input[1]
            other = writer.const(stored[second][None]) if second in stored else made[second]
            kind = {"Mul": "Multiply", "Add": "Add"}[node.op_type]
            size = max(size, shapes.get(second, size))
            number = writer.layer(kind, [other, source], size)
        elif node.op_type == "Sigmoid":
            number = writer.layer("Sigmoid", [source], size)
        else:
            assert node.op_type == "Flatten"
            number = writer.layer("Result", [source], [])
        made[node.output[0]], shapes[node.output[0]] = number, size
    return writer.save(folder)


def _text(values: Sequence[int]) -> str:
    return ",".join(map(str, values))


def _convolution(
    writer: Writer,
    node: onnx.NodeProto,
    settings: dict[str, Any],
    stored: dict[str, Array],
    source: int,
    size: list[int],
) -> tuple[int, list[int]]:
    weights, groups = stored[node.input[1]], settings["group"]
    out = [1, weights.shape[0]]
    for axis in range(2):
        padded = size[2 + axis] + settings["pads"][axis] + settings["pads"][2 + axis]
        out.append((padded - weights.shape[2 + axis]) // settings["strides"][axis] + 1)
    kind = "Convolution" if groups == 1 else "GroupConvolution"
    kernel = weights if groups == 1 else weights.reshape(groups, -1, *weights.shape[1:])
    number = writer.layer(
        kind, [source, writer.const(kernel)], out, auto_pad="explicit",
        dilations=_text(settings["dilations"]), strides=_text(settings["strides"]),
        pads_begin=_text(settings["pads"][:2]), pads_end=_text(settings["pads"][2:]),
    )  # fmt: skip
    if len(node.input) > 2:
        bias = writer.const(stored[node.input[2]].reshape(1, -1, 1, 1))
        number = writer.layer("Add", [number, bias], out)
    return number, out
