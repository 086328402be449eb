"""A comparison as a TOML file: arms x losses x normalisation modes x folds x seeds x rates x tests.

Table I, Table II and Fig. 4 of the paper and the stand-in are files of `plans/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from faces.strict import Strict
from training.engine.recipe_file import RecipeError, read_recipe
from training.methods.losses import LossName
from training.networks.layers import BnMode

PLANS = Path(__file__).resolve().parents[2] / "plans"
# The test subjects of the data set that is trained on.
OWN = "own"
# The mode of normalisation that a name does not mention.
PAPER_MODE: BnMode = "separate"
FARS = (1e-2, 1e-3)


class Varied(Strict):
    """An entry that stands for one of each loss and mode: `{loss}` in its texts becomes the loss's name, and
    the name of an arm in another mode than the paper's ends in the mode."""

    losses: tuple[LossName, ...] = ()
    modes: tuple[BnMode, ...] = ()

    def variants(self) -> Iterator[tuple[str, BnMode | None]]:
        """Losses and modes; "" and None if the entry does not vary them."""
        yield from product(self.losses or ("",), self.modes or (None,))


class ArmEntry(Varied):
    """A network to train: `recipe` of `recipes/` with `set` over it; without a recipe, the start itself."""

    name: str
    recipe: str | None = None
    set: tuple[str, ...] = ()


class RowEntry(Varied):
    """A row of the paper: its labels, the arm and the probes that it is about, and the paper's figures."""

    labels: tuple[str, ...]
    arm: str
    masked: bool = True
    paper: tuple[float, ...] = ()


class ColumnEntry(Strict):
    """A column of the paper: VR at `far`, or rank-1 without it, of the test subjects `test`."""

    test: str = OWN
    far: float | None = None


class DifferenceEntry(Varied):
    """Two arms whose rank-1 is compared, pair by pair of runs."""

    arm: str
    minus: str


class PlanFile(Strict):
    """A plan as it is written.

    `data`: the data set that it is about, if its figures may stand beside the paper's; `names`: of the test
    sets; `rates`: learning rates to choose from on validation subjects, none: the recipe's; `queue`: columns
    of every queue, whatever the batch; `fars`: where VR is measured; `trunk`: the recipe of the paper's
    pre-training; `heads`, `column`, `row`: what the paper prints, in its order.
    """

    title: str
    data: str | None = None
    folds: Annotated[tuple[int, ...], Field(min_length=1)] = (1,)
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    rates: tuple[float, ...] = ()
    iterations: int | None = None
    batch: int | None = None
    queue: int | None = None
    fars: tuple[float, ...] = FARS
    trunk: str | None = None
    figure: Literal["none", "bars", "curves"] = "none"
    set: tuple[str, ...] = ()
    names: Annotated[Mapping[str, str], Field(default_factory=dict)]
    heads: tuple[str, ...] = ()
    column: tuple[ColumnEntry, ...] = ()
    row: tuple[RowEntry, ...] = ()
    arm: Annotated[tuple[ArmEntry, ...], Field(min_length=1)]
    difference: tuple[DifferenceEntry, ...] = ()

    @model_validator(mode="after")
    def _one_table(self) -> PlanFile:
        for row in self.row:
            if len(row.labels) != len(self.heads) or (row.paper and len(row.paper) != len(self.column)):
                raise ValueError(f"row {row.labels} does not fit the heads and columns")
        if missing := {c.far for c in self.column if c.far is not None} - set(self.fars):
            raise ValueError(f"a column has VR at FAR {min(missing):g}, which fars lacks")
        return self


@dataclass(frozen=True, slots=True)
class Arm:
    """One network to train, or the start (`recipe` None)."""

    name: str
    recipe: str | None
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the paper."""

    labels: tuple[str, ...]
    arm: str
    masked: bool
    paper: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan with every entry written out. `stem`: of the files that its table is written to."""

    stem: str
    file: PlanFile
    arms: tuple[Arm, ...]
    rows: tuple[Row, ...]
    differences: tuple[tuple[str, str], ...]
    names: Mapping[str, str] = field(default_factory=dict)

    def name_of(self, test: str) -> str:
        """The name of a test set in tables."""
        return self.names.get(test, test)


def plan_names() -> tuple[str, ...]:
    """The names of the committed plans."""
    return tuple(sorted(path.stem for path in PLANS.glob("*.toml")))


def load_plan(name: str) -> Plan:
    """A plan. `name`: a file's path, or a name of `plans/`.

    Raises RecipeError naming the file and the key.
    """
    path = Path(name) if name.endswith(".toml") else PLANS / f"{name}.toml"
    if not path.is_file():
        raise RecipeError(f"{path.name}: no such plan; there are: {', '.join(plan_names())}")
    read = read_recipe(PlanFile, str(path))
    arms = tuple(arm for entry in read.arm for arm in _arms(entry))
    rows = _rows(read)
    known = {arm.name for arm in arms}
    differences = tuple(pair for entry in read.difference for pair in _pairs(entry))
    for named in (*(row.arm for row in rows), *(one for pair in differences for one in pair)):
        if named not in known:
            raise RecipeError(f"{path.name}: no arm {named!r}")
    return Plan(path.stem, read, arms, rows, differences, dict(read.names))


def _arms(entry: ArmEntry) -> Iterator[Arm]:
    for loss, mode in entry.variants():
        changes = entry.set if mode is None else (*entry.set, f"task.method.bn_mode={mode}")
        recipe = None if entry.recipe is None else entry.recipe.replace("{loss}", loss)
        yield Arm(_named(entry.name, loss, mode), recipe, changes)


def _rows(read: PlanFile) -> tuple[Row, ...]:
    """Rows in the order of the file; entries with losses take turns, loss by loss."""
    found = []
    for entry in read.row:
        for turn, (loss, mode) in enumerate(entry.variants()):
            labels = tuple(label.replace("{loss}", loss) for label in entry.labels)
            row = Row(labels, _named(entry.arm, loss, mode), entry.masked, entry.paper)
            found.append((turn if entry.losses else 0, row))
    return tuple(row for _, row in sorted(found, key=lambda pair: pair[0]))


def _pairs(entry: DifferenceEntry) -> Iterator[tuple[str, str]]:
    for loss, mode in entry.variants():
        yield _named(entry.arm, loss, mode), _named(entry.minus, loss, mode)


def _named(name: str, loss: str, mode: BnMode | None) -> str:
    after = "" if mode in (None, PAPER_MODE) else f", {mode} BN"
    return name.replace("{loss}", loss) + after
