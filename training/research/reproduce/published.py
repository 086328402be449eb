"""The tables and the figure of the paper (Du et al., IEEE SPL 2021) as plans: arms, rows and figures.

Table I: fold 1, MobileFaceNet, softmax. Table II: masked fold 1, ResNet-50; the same networks are then
evaluated on two other data sets. Fig. 4: ten folds, MobileFaceNet, four losses, plain and HSST. The paper
gives the bars of Fig. 4 no numbers, so there are none here. `queue-sizes` is an ablation of this project: the
size of HSST's queues is the one setting on which paper (128) and code (256) differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Table = Literal["table1", "table2", "fig4", "queue-sizes"]
VR_POINTS = (1e-2, 1e-3)
QUEUE = "task.method.queue"
ALL_FOLDS = tuple(range(1, 11))


class On(StrEnum):
    """Whose test subjects: those of the data set that was trained on, or of another one."""

    OWN = "own"
    OULU = "oulu"
    BUAA = "buaa"


@dataclass(frozen=True, slots=True)
class Published:
    """The paper's figures of one arm, in percent. `vr`: by FAR. Probes are NIR, references VIS, unmasked."""

    on: On
    masked: bool
    rank1: float | None = None
    vr: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Arm:
    """A network to train: a recipe of `recipes/`, with what the plan varies in `changes`."""

    name: str
    recipe: str
    changes: tuple[str, ...] = ()
    paper: tuple[Published, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A figure that the paper prints of every row: VR at `far`, or rank-1 if that is None."""

    on: On
    far: float | None


@dataclass(frozen=True, slots=True)
class PrintedRow:
    """A row of the paper: its labels, and the arm and condition of probes that it is about."""

    labels: tuple[str, ...]
    arm: str
    masked: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """A table or figure. `title` names no data set, because the stand-in prints it too.

    `heads`, `rows`, `columns`: what the paper prints, in its order; without rows nothing of it is the
    paper's. `folds`: those of the paper.
    """

    table: Table
    title: str
    arms: tuple[Arm, ...]
    heads: tuple[str, ...] = ()
    rows: tuple[PrintedRow, ...] = ()
    columns: tuple[Column, ...] = ()
    folds: tuple[int, ...] = (1,)


def _own(masked: bool, rank1: float, vr: float) -> Published:
    return Published(On.OWN, masked, rank1, {1e-3: vr})


UNMASKED, MASKED = ("p_mask=0.0",), ("p_mask=1.0",)
PLAIN, HSST = "plain training", "HSST"
TABLE1 = Plan(
    "table1",
    "Table I: what masks in training do, and what HSST does",
    (
        Arm(
            "plain softmax, trained unmasked",
            "plain-softmax",
            UNMASKED,
            (_own(False, 98.25, 97.74), _own(True, 53.88, 42.36)),
        ),
        Arm("plain softmax, trained masked", "plain-softmax", MASKED, (_own(True, 83.90, 77.23),)),
        Arm(
            "HSST softmax, trained unmasked",
            "hsst-softmax",
            UNMASKED,
            (_own(False, 99.30, 98.79), _own(True, 67.52, 59.35)),
        ),
        Arm("HSST softmax, trained masked", "hsst-softmax", MASKED, (_own(True, 93.60, 90.25),)),
    ),
    heads=("method", "trained", "tested"),
    rows=tuple(
        PrintedRow((method, trained, tested), f"{name} softmax, trained {state}", tested == "masked")
        for method, name in ((PLAIN, "plain"), (HSST, "HSST"))
        for trained, tested, state in (
            ("non-masked", "non-masked", "unmasked"),
            ("non-masked", "masked", "unmasked"),
            ("masked", "masked", "masked"),
        )
    ),
    columns=(Column(On.OWN, None), Column(On.OWN, 1e-3)),
)

# Rank-1 and VR@FAR .1 % of masked probes; Oulu VR@1 % / .1 %; BUAA rank-1, VR@1 % / .1 %.
_TABLE2: tuple[tuple[str, str, tuple[float, ...]], ...] = (
    ("plain softmax", "plain-softmax", (93.81, 90.83, 84.4, 61.6, 92.6, 62.3, 43.0)),
    ("plain AM", "plain-am", (95.00, 92.38, 85.4, 63.8, 93.0, 67.8, 46.5)),
    ("plain Arc", "plain-arc", (94.63, 91.73, 85.7, 64.4, 93.3, 68.4, 46.7)),
    ("plain triplet", "plain-triplet", (97.40, 96.43, 86.9, 65.0, 97.2, 78.7, 65.8)),
    ("IDR", "idr", (95.57, 93.89, 85.9, 64.2, 95.4, 71.8, 58.3)),
    ("W-CNN", "wcnn", (96.72, 95.62, 87.0, 67.7, 96.6, 74.9, 62.4)),
    ("HSST softmax", "hsst-softmax", (97.92, 97.89, 89.9, 76.8, 98.1, 85.0, 70.9)),
    ("HSST AM", "hsst-am", (98.53, 98.42, 91.0, 78.4, 98.6, 85.9, 71.7)),
    ("HSST Arc", "hsst-arc", (98.24, 98.35, 90.5, 77.8, 98.3, 86.2, 71.4)),
    ("HSST triplet", "hsst-triplet", (98.60, 98.58, 91.3, 83.0, 98.4, 85.3, 70.6)),
)
# Not in the paper: baselines at their best, HSST's predecessor, and the control that tied HSST in a pilot.
_BESIDE = (
    ("plain+ softmax", "plain-plus-softmax"),
    ("plain+ AM", "plain-plus-am"),
    ("plain+ Arc", "plain-plus-arc"),
    ("SST", "sst"),
    ("in-batch control", "in-batch"),
)


def _row(name: str, recipe: str, figures: tuple[float, ...]) -> Arm:
    rank1, vr, oulu1, oulu01, buaa, buaa1, buaa01 = figures
    cells = (
        _own(True, rank1, vr),
        Published(On.OULU, True, None, {1e-2: oulu1, 1e-3: oulu01}),
        Published(On.BUAA, True, buaa, {1e-2: buaa1, 1e-3: buaa01}),
    )
    return Arm(name, recipe, RESNET, cells)


RESNET = ("backbone.kind=ir50",)
TABLE2 = Plan(
    "table2",
    "Table II: every method on masked probes",
    (*(_row(*row) for row in _TABLE2), *(Arm(name, recipe, RESNET) for name, recipe in _BESIDE)),
    heads=("method",),
    rows=tuple(PrintedRow((name,), name) for name, _, _ in _TABLE2),
    columns=(
        Column(On.OWN, None),
        Column(On.OWN, 1e-3),
        Column(On.OULU, 1e-2),
        Column(On.OULU, 1e-3),
        Column(On.BUAA, None),
        Column(On.BUAA, 1e-2),
        Column(On.BUAA, 1e-3),
    ),
)

_LOSSES = (("softmax", "softmax"), ("AM", "am"), ("Arc", "arc"), ("triplet", "triplet"))
_FIG4 = tuple(
    (loss, method, f"{word} {loss}", f"{word.lower()}-{stem}")
    for loss, stem in _LOSSES
    for method, word in ((PLAIN, "plain"), (HSST, "HSST"))
)
FIG4 = Plan(
    "fig4",
    "Fig. 4: plain training and HSST by the loss",
    tuple(Arm(name, recipe, MASKED) for _, _, name, recipe in _FIG4),
    heads=("loss", "method"),
    rows=tuple(PrintedRow((loss, method), name) for loss, method, name, _ in _FIG4),
    columns=(Column(On.OWN, None), Column(On.OWN, 1e-2)),
    folds=ALL_FOLDS,
)


def queue_sizes(batch: int, subjects: int) -> Plan:
    """Plans HSST softmax with queues of one to five batches, as far as there are subjects to fill them."""
    sizes = [batch * k for k in range(1, 6) if batch * k <= subjects]
    arms = tuple(Arm(f"HSST softmax, K = {size}", "hsst-softmax", (f"{QUEUE}={size}",)) for size in sizes)
    return Plan("queue-sizes", "Ablation, not in the paper: HSST by the size of its queues", arms)


def plan_of(table: Table, *, batch: int, subjects: int) -> Plan:
    """Returns the plan of a table; `batch` and training `subjects` bound the queues of `queue-sizes`."""
    if table == "queue-sizes":
        return queue_sizes(batch, subjects)
    return {"table1": TABLE1, "table2": TABLE2, "fig4": FIG4}[table]
