"""Rewrites PReLU so that ONNX Runtime keeps blocked memory between convolutions on a CPU.

ONNX Runtime reorders the memory before and after each PReLU, because it knows the layout of convolutions for
few other operators. PReLU(x) = a x + (1 - a) ReLU(x) for any slope a: two depthwise convolutions of one
pixel, a ReLU and a sum, all of which keep the layout.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from export.graph import check


def spread_prelu(path: Path) -> int:
    """Rewrites every PReLU of a file with a stored slope and pictures as its input; returns their number.

    Raises ExportError if ONNX's checker refuses the result.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    channels = _channels(model)
    nodes: list[NodeProto] = []
    found = 0
    for node in model.graph.node:
        if node.op_type != "PRelu" or node.input[1] not in stored or node.input[0] not in channels:
            nodes.append(node)
            continue
        slope = numpy_helper.to_array(stored[node.input[1]]).astype(np.float64).reshape(-1)
        nodes += _spread(model, node, np.broadcast_to(slope, (channels[node.input[0]],)))
        found += 1
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop_unused(model)
    del model.graph.value_info[:]
    check(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return found


def _channels(model: ModelProto) -> dict[str, int]:
    """The channels of every value of shape [batch, channels, height, width]."""
    found = {}
    for value in model.graph.value_info:
        dims = value.type.tensor_type.shape.dim
        if len(dims) == 4 and dims[1].dim_value > 0:
            found[value.name] = dims[1].dim_value
    return found


def _spread(model: ModelProto, node: NodeProto, slope: NDArray[np.float64]) -> list[NodeProto]:
    source, target = node.input[0], node.output[0]
    made = []
    for suffix, weights in (("all", slope), ("positive", 1.0 - slope)):
        name = f"{target}_{suffix}_weights"
        array = np.ascontiguousarray(weights.reshape(-1, 1, 1, 1), np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
        taken = source if suffix == "all" else f"{target}_relu"
        made.append(
            helper.make_node(
                "Conv", [taken, name], [f"{target}_{suffix}"], group=len(slope), kernel_shape=[1, 1]
            )
        )
    relu = helper.make_node("Relu", [source], [f"{target}_relu"])
    total = helper.make_node("Add", [f"{target}_positive", f"{target}_all"], [target])
    return [relu, *made, total]


def _drop_unused(model: ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
