"""The arms of the stand-in benchmark: every baseline of the paper, HSST, and the controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from training.backbones.layers import BnMode
from training.losses import LossConfig, LossName
from training.tasks.build import TaskConfig
from training.tasks.contrast import ContrastConfig
from training.tasks.hsst import HsstConfig
from training.tasks.invariant import InvariantConfig
from training.tasks.plain import PlainConfig
from training.tasks.sst import SstConfig

LOSSES: tuple[LossName, ...] = ("softmax", "am", "arc", "triplet")
QUEUE = 128


@dataclass(frozen=True, slots=True)
class Arm:
    """One row of the table. `task`: None is the trunk as it is. `grey`: the NIR photo is replaced by
    the same subject's other VIS photo in grey, so nothing but colour is taken away."""

    name: str
    task: TaskConfig | None
    grey: bool = False


def arms(iterations: int) -> Mapping[str, Arm]:
    """All arms by name. The moving average keeps the paper's ratio to the length of a run:
    ema = 1 - 10 / iterations."""
    ema = 1.0 - 10.0 / max(iterations, 11)

    def hsst(loss: LossName, mode: BnMode = "separate", *, distil: float = 0.0) -> TaskConfig:
        method = HsstConfig(loss=LossConfig(name=loss), queue=QUEUE, ema=ema, bn_mode=mode)
        return TaskConfig(method=method, distil=distil)

    def plain(loss: LossName, *, plus: bool) -> TaskConfig:
        method = PlainConfig(loss=LossConfig(name=loss), class_means=plus, head_lr=10.0 if plus else 1.0)
        return TaskConfig(method=method)

    found = [Arm("zero-shot", None), Arm("grey-only", plain("softmax", plus=True), grey=True)]
    found += [Arm(f"plain {loss}", plain(loss, plus=False)) for loss in LOSSES]
    # Triplet has no head, so its plain and plain+ are one.
    found += [Arm(f"plain+ {loss}", plain(loss, plus=True)) for loss in LOSSES[:3]]
    found += [
        Arm("IDR", TaskConfig(method=InvariantConfig(kind="idr"))),
        Arm("W-CNN", TaskConfig(method=InvariantConfig(kind="wcnn"))),
        Arm("SST", TaskConfig(method=SstConfig(queue=QUEUE, ema=ema))),
        Arm("in-batch", TaskConfig(method=ContrastConfig())),
    ]
    found += [Arm(f"HSST {loss}", hsst(loss)) for loss in LOSSES]
    found += [Arm(f"HSST softmax, {mode} BN", hsst("softmax", mode)) for mode in ("joint", "frozen", "dsbn")]
    found += [Arm("HSST softmax + distillation", hsst("softmax", distil=1.0))]
    return {arm.name: arm for arm in found}
