"""Trains and evaluates the arms of a table, one after the other, and keeps their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from faces.files import write_whole
from faces.rates.resampling import BOOTSTRAPS
from faces.strict import Strict
from training.data.digests import file_digest
from training.data.prepared import PreparedSet
from training.data.records import DataSetError
from training.engine.devices import OnDevice
from training.finetune.recipe import Recipe, differences, load_recipe, shortened
from training.finetune.run import ENCODER, RunOptions, train_recipe
from training.methods.invariant import InvariantConfig
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import load_network
from training.networks.torch_encoder import TorchEncoder
from training.research.reproduce.measure import Cell, measure
from training.research.reproduce.published import QUEUE, Arm, On

RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class FoldData:
    """One fold to train and evaluate on, and other data sets to evaluate on.

    `synthetic`: generators made it, so its results must not stand beside the paper's figures.
    """

    name: str
    prepared: PreparedSet
    others: Mapping[On, PreparedSet]
    synthetic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The departures from the paper that the caller asks for. `changes`: `key=value` over each recipe."""

    start: Path
    device: torch.device
    iterations: int | None = None
    batch: int | None = None
    changes: tuple[str, ...] = ()
    seed: int = 0
    bootstraps: int = BOOTSTRAPS


class Result(Strict):
    """One arm on one fold. `departures`: what differs in its recipe from the paper's."""

    synthetic: bool
    arm: str
    fold: str
    recipe: dict[str, Any]
    departures: tuple[str, ...]
    start: str
    commit: str | None
    device: str
    seconds: float
    images_seen: int
    loss: float | None
    cells: tuple[Cell, ...]


def recipes_of(arm: Arm, settings: Settings, backbone: BackboneConfig) -> tuple[Recipe, Recipe]:
    """Returns the recipe to run and the paper's. Raises RecipeError."""
    paper = load_recipe(arm.recipe, arm.changes)
    batch = () if settings.batch is None else _batch(paper, settings.batch)
    changes = (*batch, *arm.changes, *settings.changes, f"seed={settings.seed}")
    ran = load_recipe(arm.recipe, changes).model_copy(update={"backbone": backbone})
    if settings.iterations is not None:
        ran = shortened(ran, settings.iterations)
    return _fitted(ran), paper


def _batch(paper: Recipe, batch: int) -> tuple[str, ...]:
    """The changes of a smaller batch: queues keep their length in batches."""
    columns = paper.task.queue * batch // paper.batch
    return (f"batch={batch}", *([f"{QUEUE}={columns}"] if columns else []))


def _fitted(recipe: Recipe) -> Recipe:
    """Lets IDR and W-CNN share three quarters of a feature that is too small for the paper's share."""
    method, dimension = recipe.task.method, recipe.backbone.dimension
    if not isinstance(method, InvariantConfig) or method.shared < dimension:
        return recipe
    smaller = method.model_copy(update={"shared": 3 * dimension // 4})
    return recipe.model_copy(update={"task": recipe.task.model_copy(update={"method": smaller})})


def slug(name: str) -> str:
    """Returns a name of an arm or a fold as the name of a folder."""
    return "-".join("".join(c if c.isalnum() else " " for c in name.replace("+", " plus")).split()).lower()


def run_arm(
    arm: Arm,
    data: FoldData,
    settings: Settings,
    out: Path,
    *,
    on_step: Callable[[int, float], None] | None = None,
) -> Result:
    """Trains on the fold's train split and evaluates the written encoder on its test split and the others.

    An arm with a result in `out` is not run again. Raises DataSetError if that result is of other settings.
    """
    _, backbone = load_network(settings.start)
    recipe, paper = recipes_of(arm, settings, backbone)
    place = RunOptions(
        out=out / slug(arm.name) / slug(data.name), start=settings.start, device=settings.device
    )
    found = read_result(place.out / RESULT)
    if found is not None:
        _check(found, recipe, data, file_digest(settings.start))
        return found
    record = train_recipe(recipe, data.prepared, place, on_step=on_step)
    net, trained = load_network(place.out / ENCODER)
    encoder = TorchEncoder(OnDevice(net.to(settings.device), settings.device), trained, name=arm.name)
    cells = [
        cell
        for on, prepared in {On.OWN: data.prepared, **data.others}.items()
        for cell in measure(encoder, prepared, on, bootstraps=settings.bootstraps)
    ]
    result = Result(
        synthetic=data.synthetic,
        arm=arm.name,
        fold=data.name,
        recipe=record.recipe,
        departures=differences(recipe.facts(), paper.facts()),
        start=record.start or "",
        commit=record.commit,
        device=record.device,
        seconds=record.seconds,
        images_seen=record.images_seen,
        loss=record.loss,
        cells=tuple(cells),
    )
    write_whole(place.out / RESULT, (result.model_dump_json(indent=1) + "\n").encode())
    return result


def read_result(path: Path) -> Result | None:
    """Returns None if there is no file. Raises DataSetError if the file is no result of this command."""
    try:
        return Result.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise DataSetError(f"{path.name} of {path.parent.name} is not one of this command") from error


def _check(found: Result, recipe: Recipe, data: FoldData, start: str) -> None:
    differs = list(differences(found.recipe, recipe.facts()))
    differs += ["one of the two is synthetic"] if found.synthetic != data.synthetic else []
    differs += ["from another checkpoint"] if found.start != start else []
    if differs:
        raise DataSetError(f"{found.arm} was finished otherwise ({differs[0]}): choose another folder")
    missing = set(data.others) - {cell.on for cell in found.cells}
    if missing:
        raise DataSetError(
            f"{found.arm} was finished without --{min(missing)}: choose another folder, or leave it out"
        )


def departures(results: Sequence[Result]) -> tuple[str, ...]:
    """Returns the departures of all arms, each once."""
    return tuple(dict.fromkeys(text for result in results for text in result.departures))
