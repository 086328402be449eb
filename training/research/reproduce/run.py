"""Trains and evaluates the arms of a table, one after the other, and keeps their results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from faces.files import write_whole
from faces.rates.resampling import BOOTSTRAPS
from faces.strict import Strict
from training.data.records import DataSetError
from training.engine.devices import OnDevice
from training.engine.loop import OnStep
from training.finetune.recipe import Recipe, differences, load_recipe, shortened
from training.finetune.run import ENCODER, RunOptions, check_alignment, train_recipe
from training.methods.invariant import InvariantConfig
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import load_network
from training.networks.initial_weights import initial_digest, load_initial
from training.networks.torch_encoder import TorchEncoder
from training.research.reproduce.datasets import FoldData
from training.research.reproduce.measure import Cell, measure
from training.research.reproduce.published import QUEUE, Arm, On
from training.research.reproduce.trunk import trunk_departures

RESULT = "result.json"
# Of an embedding, in the paper.
DIMENSION = 512
# The name of the test subjects, the crops embedded so far, and all of them.
OnEmbedded = Callable[[On, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The departures from the paper that the caller asks for. `start`: the trunk, a checkpoint or a bundle's
    folder; `changes`: `key=value` over each recipe."""

    start: Path
    device: torch.device
    iterations: int | None = None
    batch: int | None = None
    changes: tuple[str, ...] = ()
    seed: int = 0
    bootstraps: int = BOOTSTRAPS


class Result(Strict):
    """One arm on one fold. `departures`: what differs from the paper in its recipe and its trunk."""

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


def start_backbone(start: Path) -> BackboneConfig:
    """The backbone of the trunk. Raises DataSetError."""
    return load_initial(start, dimension=DIMENSION)[1]


def check_sets(datasets: Sequence[FoldData], backbone: BackboneConfig) -> None:
    """Raises DataSetError if crops of a set are not what the trunk takes, which embedding would find last."""
    for data in datasets:
        for prepared in data.sets:
            check_alignment(prepared, backbone)


def run_arm(
    arm: Arm,
    data: FoldData,
    settings: Settings,
    out: Path,
    *,
    on_step: OnStep | None = None,
    on_embedded: OnEmbedded | None = None,
) -> Result:
    """Trains on the fold's train split and evaluates the written encoder on its test split and the others.

    An arm with a result in `out` is not run again. Raises DataSetError if that result is of other settings.
    """
    recipe, paper = recipes_of(arm, settings, start_backbone(settings.start))
    place = RunOptions(
        out=out / slug(arm.name) / slug(data.name), start=settings.start, device=settings.device
    )
    found = read_result(place.out / RESULT)
    if found is not None:
        _check(found, recipe, data, initial_digest(settings.start))
        return found
    own = data.prepared
    record = train_recipe(recipe, own, place, on_step=on_step)
    net, trained = load_network(place.out / ENCODER)
    encoder = TorchEncoder(OnDevice(net.to(settings.device), settings.device), trained, name=arm.name)
    cells: list[Cell] = []
    for on, prepared in {On.OWN: own, **data.others}.items():
        report = None if on_embedded is None else partial(on_embedded, on)
        cells += measure(encoder, prepared, on, bootstraps=settings.bootstraps, on_embedded=report)
    result = Result(
        synthetic=data.synthetic,
        arm=arm.name,
        fold=data.name,
        recipe=record.recipe,
        departures=(*trunk_departures(settings.start), *differences(recipe.facts(), paper.facts())),
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
