"""Layers that torch lacks for the ONNX operators of face embedders."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

ARITHMETIC: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": operator.truediv,
}


class Function(nn.Module):
    """A layer without weights."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *given: Tensor) -> Tensor:
        return self._function(*given)


class WithConstant(nn.Module):
    """x op value, or value op x; the value comes from the file and is not trained."""

    value: Tensor

    def __init__(self, op: str, shape: tuple[int, ...], *, first: bool) -> None:
        super().__init__()
        self._op, self._first = ARITHMETIC[op], first
        self.register_buffer("value", torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return self._op(self.value, x) if self._first else self._op(x, self.value)


class PaddedConv(nn.Conv2d):
    """A convolution with separate padding of each side: left, right, top, bottom."""

    def __init__(self, *given: Any, sides: tuple[int, int, int, int], **named: Any) -> None:
        super().__init__(*given, **named)
        self._sides = sides

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(functional.pad(input, self._sides))


class SteppedPointwise(nn.Conv2d):
    """A convolution of one pixel with a stride, which picks the pixels first.

    Its backward pass in the memory order `channels_last` ends the process in torch 2.13 on a CPU if there are
    few channels: 8 to 16 does, 64 to 128 does not.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int], *, stride: tuple[int, int], **named: Any
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride=1, **named)
        self._rows, self._columns = stride

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input[:, :, :: self._rows, :: self._columns])


class SteppedDepthwise(nn.Conv2d):
    """A depthwise convolution with a stride, in float32 on a CPU even under autocast.

    Its backward pass in bfloat16 takes 4.7 times as long in torch 2.13 on a CPU, half of the reference
    embedder's step."""

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu":
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float())
