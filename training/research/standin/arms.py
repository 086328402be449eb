"""The arms of the stand-in benchmark: the paper's baselines, HSST, and the controls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

from training.methods.build import MethodConfig, TaskConfig
from training.methods.contrast import ContrastConfig
from training.methods.hsst import HsstConfig
from training.methods.invariant import InvariantConfig
from training.methods.losses import LossConfig, LossName
from training.methods.plain import PlainConfig
from training.methods.sst import SstConfig
from training.networks.layers import BnMode

LOSSES: tuple[LossName, ...] = ("softmax", "am", "arc", "triplet")
MODES: tuple[BnMode, ...] = get_args(BnMode)
PAPER_MODE: BnMode = "separate"
QUEUE = 128


@dataclass(frozen=True, slots=True)
class Arm:
    """One row of the table.

    `task`: None for the trunk without training. `grey`: the NIR photo is replaced by the VIS photo of the
    same source in grey, so that nothing but colour is taken away.
    """

    name: str
    task: TaskConfig | None
    grey: bool = False


def arms(iterations: int) -> Mapping[str, Arm]:
    """Returns all arms by name: each method in each mode of batch normalisation.

    A name without a mode ("HSST arc", not "HSST arc, frozen BN") is in the paper's mode, `separate`. The
    moving average keeps the paper's ratio to the length of a run: ema = 1 - 10 / iterations.
    """
    ema = 1.0 - 10.0 / max(iterations, 11)
    found = [Arm("zero-shot", None)]
    for mode in MODES:
        after = "" if mode == PAPER_MODE else f", {mode} BN"
        for name, method in _methods(ema, mode):
            found.append(Arm(name + after, TaskConfig(method=method)))
        hsst = HsstConfig(queue=QUEUE, ema=ema, bn_mode=mode)
        found.append(Arm(f"HSST softmax + distillation{after}", TaskConfig(method=hsst, distil=1.0)))
        plus = PlainConfig(class_means=True, head_lr=10.0, bn_mode=mode)
        found.append(Arm(f"grey-only{after}", TaskConfig(method=plus), grey=True))
        found.append(Arm(f"plain+ softmax + distillation{after}", TaskConfig(method=plus, distil=1.0)))
    return {arm.name: arm for arm in found}


def _methods(ema: float, mode: BnMode) -> Iterator[tuple[str, MethodConfig]]:
    for name in LOSSES:
        loss = LossConfig(name=name)
        yield f"plain {name}", PlainConfig(loss=loss, bn_mode=mode)
        # Triplet has no head, so its plain and plain+ are one.
        if name != "triplet":
            yield f"plain+ {name}", PlainConfig(loss=loss, class_means=True, head_lr=10.0, bn_mode=mode)
        yield f"HSST {name}", HsstConfig(loss=loss, queue=QUEUE, ema=ema, bn_mode=mode)
    yield "IDR", InvariantConfig(kind="idr", bn_mode=mode)
    yield "W-CNN", InvariantConfig(kind="wcnn", bn_mode=mode)
    yield "SST", SstConfig(queue=QUEUE, ema=ema, bn_mode=mode)
    yield "in-batch", ContrastConfig(bn_mode=mode)
