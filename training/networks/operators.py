"""The ONNX operators of face embedders as torch layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod

import torch
from torch import nn

from training.networks.graph import GraphError, Node
from training.networks.layers import SpectralBatchNorm
from training.networks.operator_layers import (
    ARITHMETIC,
    Function,
    PaddedConv,
    SteppedDepthwise,
    SteppedPointwise,
    WithConstant,
)


def layer_of(node: Node) -> nn.Module:
    """The layer of a node. Raises GraphError for an unknown operator or an unknown setting of one."""
    make = OPERATORS.get(node.op)
    if make is None:
        raise unknown_operator(node.op, node.output)
    return make(node)


def unknown_operator(op: str, output: str) -> GraphError:
    return GraphError(f"the operator {op} ({output}) is not known; there are: {', '.join(sorted(OPERATORS))}")


def _refuse(node: Node, why: str) -> GraphError:
    return GraphError(f"{node.op} {node.output}: {why}")


def _pair(node: Node, name: str) -> tuple[int, int]:
    values = node.numbers(name, (1, 1))
    if len(values) != 2:
        raise _refuse(node, "it is not of two dimensions")
    return values[0], values[1]


def _sides(node: Node) -> tuple[int, int, int, int]:
    """Padding at top, left, bottom, right."""
    if node.settings.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise _refuse(node, f"padding by {node.settings['auto_pad']} is not known; export with numbers")
    sides = node.numbers("pads", (0, 0, 0, 0))
    if len(sides) != 4:
        raise _refuse(node, "it is not of two dimensions")
    return sides[0], sides[1], sides[2], sides[3]


def _conv(node: Node) -> nn.Module:
    if len(node.shapes["weight"]) != 4:
        raise _refuse(node, "it is not of two dimensions")
    outputs, inputs, high, wide = node.shapes["weight"]
    groups = int(node.number("group", 1))
    top, left, bottom, right = _sides(node)
    even = (top, left) == (bottom, right)
    stepped = inputs == 1 < groups and max(_pair(node, "strides")) > 1
    plain: type[nn.Conv2d] = SteppedDepthwise if stepped else nn.Conv2d
    if (high, wide) == (1, 1) and max(_pair(node, "strides")) > 1 and not any((top, left, bottom, right)):
        plain = SteppedPointwise
    make = plain if even else partial(PaddedConv, sides=(left, right, top, bottom))
    return make(
        inputs * groups,
        outputs,
        (high, wide),
        stride=_pair(node, "strides"),
        padding=(top, left) if even else 0,
        dilation=_pair(node, "dilations"),
        groups=groups,
        bias="bias" in node.shapes,
    )


def _batch_norm(node: Node) -> nn.Module:
    # ONNX's momentum weighs the old statistics, torch's the new ones.
    momentum = 1.0 - node.number("momentum", 0.9)
    return SpectralBatchNorm(*node.shapes["weight"], momentum=momentum, eps=node.number("epsilon", 1e-5))


def _gemm(node: Node) -> nn.Module:
    if node.number("transA", 0) or node.number("alpha", 1.0) != 1 or node.number("beta", 1.0) != 1:
        raise _refuse(node, "only x W + b is known")
    outputs, inputs = node.shapes["weight"]
    return nn.Linear(inputs, outputs, bias="bias" in node.shapes)


def _arithmetic(node: Node) -> nn.Module:
    if "value" in node.shapes:
        return WithConstant(node.op, node.shapes["value"], first=bool(node.settings["value_first"]))
    if len(node.inputs) == 1:
        return Function(lambda x: ARITHMETIC[node.op](x, x))
    return Function(ARITHMETIC[node.op])


def _pool(node: Node) -> nn.Module:
    top, left, bottom, right = _sides(node)
    if (top, left) != (bottom, right) or _pair(node, "dilations") != (1, 1):
        raise _refuse(node, "uneven padding or dilation is not known")
    kernel, stride = _pair(node, "kernel_shape"), _pair(node, "strides")
    ceil = bool(node.number("ceil_mode", 0))
    if node.op == "MaxPool":
        return nn.MaxPool2d(kernel, stride, (top, left), ceil_mode=ceil)
    counted = bool(node.number("count_include_pad", 0))
    return nn.AvgPool2d(kernel, stride, (top, left), ceil_mode=ceil, count_include_pad=counted)


def _clip(node: Node) -> nn.Module:
    low, high = node.number("min", float("-inf")), node.number("max", float("inf"))
    return Function(partial(torch.clamp, min=low, max=high))


def _mean(node: Node) -> nn.Module:
    axes = node.numbers("axes", ())
    if not axes:
        raise _refuse(node, "a mean over everything mixes the batch")
    return Function(partial(torch.mean, dim=axes, keepdim=bool(node.number("keepdims", 1))))


def _reshape(node: Node) -> nn.Module:
    """The target shape; a leading 1 is the batch of a file exported for one image."""
    first, *rest = node.numbers("shape", ())
    if first not in (-1, 0, 1) or 0 in rest:
        raise _refuse(node, "it takes the batch apart")
    if first == -1 and -1 not in rest:
        size = prod(rest)
        return Function(lambda x: x.reshape(x.numel() // size, *rest))
    return Function(lambda x: x.reshape(x.shape[0], *rest))


def _flatten(node: Node) -> nn.Module:
    if node.number("axis", 1) != 1:
        raise _refuse(node, "it takes the batch apart")
    return nn.Flatten()


def _concat(node: Node) -> nn.Module:
    axis = int(node.number("axis", 1))
    return Function(lambda *parts: torch.cat(parts, dim=axis))


def _hard_sigmoid(node: Node) -> nn.Module:
    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    return Function(lambda x: (alpha * x + beta).clamp(0.0, 1.0))


OPERATORS: Mapping[str, Callable[[Node], nn.Module]] = {
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    "Gemm": _gemm,
    "PRelu": lambda node: nn.PReLU(*node.shapes["weight"]),
    "Relu": lambda _: nn.ReLU(),
    "LeakyRelu": lambda node: nn.LeakyReLU(node.number("alpha", 0.01)),
    "Sigmoid": lambda _: nn.Sigmoid(),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda _: nn.Hardswish(),
    "Clip": _clip,
    **dict.fromkeys(ARITHMETIC, _arithmetic),
    "Concat": _concat,
    "AveragePool": _pool,
    "MaxPool": _pool,
    "GlobalAveragePool": lambda _: nn.AdaptiveAvgPool2d(1),
    "ReduceMean": _mean,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Identity": lambda _: nn.Identity(),
    # Its rate in training is part of a recipe, which the file does not contain.
    "Dropout": lambda _: nn.Identity(),
}
