"""Recipes: everything that decides a training run but its data, as strict TOML.

A recipe may build on another one in its folder (`extends = "paper.toml"`): its tables are laid over
those of the other, key by key. An unknown key is an error that names the file it stands in.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from faces.strict import Strict, strip_prefix
from training.engine.loop import LoopConfig
from training.methods.build import TaskConfig
from training.networks.backbone import BackboneConfig

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
EXTENDS, OVERRIDES = "extends", "--set"
AnyRecipe = TypeVar("AnyRecipe", bound=BaseModel)


class RecipeError(ValueError):
    """A recipe that cannot be read; the text names the file and the key."""


class Validation(Strict):
    """`every`: iterations between two evaluations on validation subjects, 0 for none. `held_out`: so many
    training subjects become validation subjects; 0: the set has a validation split of its own."""

    every: Annotated[int, Field(ge=0)] = 0
    held_out: Annotated[int, Field(ge=0)] = 0


class Recipe(Strict):
    """`backbone`: built at random weights unless training starts from a checkpoint, which brings its own.
    `batch`: subjects of one step over all processes, two photos each. `p_mask`: how often the NIR photo
    is masked."""

    task: TaskConfig
    loop: LoopConfig = LoopConfig()
    backbone: BackboneConfig = BackboneConfig()
    batch: Annotated[int, Field(gt=0)] = 64
    p_mask: Annotated[float, Field(ge=0, le=1)] = 1.0
    seed: int = 0
    validation: Validation = Validation()

    def images_seen(self, iterations: int) -> int:
        return 2 * self.batch * iterations

    def facts(self) -> dict[str, Any]:
        """As JSON; the graph of an imported backbone stays with its weights."""
        return self.model_dump(mode="json", exclude={"backbone": {"imported"}})


@dataclass(frozen=True, slots=True)
class _Layer:
    """One file's tables, or the command line's."""

    name: str
    tables: Mapping[str, Any]

    def holds(self, place: Sequence[str | int]) -> bool:
        here: Any = self.tables
        for key in place:
            if not isinstance(here, Mapping) or key not in here:
                return False
            here = here[key]
        return True


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A file's path, or a name of `recipes/`. `overrides`: `task.method.queue=64`, laid over it.

    Raises RecipeError naming the file and the key.
    """
    return read_recipe(Recipe, name, overrides)


def read_recipe(kind: type[AnyRecipe], name: str, overrides: Sequence[str] = ()) -> AnyRecipe:
    """As `load_recipe`, for a recipe of any kind. Raises RecipeError."""
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    layers = [_override(text) for text in reversed(overrides)] + list(_layers(path))
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        merged = _laid_over(merged, layer.tables)
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        raise RecipeError(_told(error, layers)) from error


def recipe_names() -> tuple[str, ...]:
    """Of `recipes/`, without the one that is there to be built upon and those of other commands."""
    stems = sorted(path.stem for path in RECIPES.glob("*.toml"))
    others = ("paper", "pretrain", "builtin", "detector")
    return tuple(stem for stem in stems if not stem.startswith(others))


def shortened(recipe: Recipe, iterations: int) -> Recipe:
    """The recipe in fewer or more iterations.

    1 - ema keeps its ratio to the length of the run (docs/hsst.md, 4.2), and the warm-up keeps its share.
    """
    ratio = recipe.loop.iterations / iterations
    method = recipe.task.method
    ema = getattr(method, "ema", None)
    if ema is not None:
        slower = method.model_copy(update={"ema": max(0.0, 1.0 - (1.0 - ema) * ratio)})
        recipe = recipe.model_copy(update={"task": recipe.task.model_copy(update={"method": slower})})
    warmup = round(recipe.loop.warmup / ratio)
    loop = recipe.loop.model_copy(update={"iterations": iterations, "warmup": warmup})
    return recipe.model_copy(update={"loop": loop})


def differences(of: Mapping[str, Any], against: Mapping[str, Any]) -> tuple[str, ...]:
    """`loop.iterations = 200 instead of 10000`, for each of two recipes' facts that differs."""
    mine, theirs = dict(_flat(of)), dict(_flat(against))
    keys = [key for key in {**theirs, **mine} if mine.get(key) != theirs.get(key)]
    return tuple(f"{key} = {_shown(mine.get(key))} instead of {_shown(theirs.get(key))}" for key in keys)


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flat(tables: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tables.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, value


def _layers(path: Path, seen: tuple[Path, ...] = ()) -> Iterator[_Layer]:
    """The file, then what it builds on."""
    if path in seen:
        raise RecipeError(f"{path.name}: extends itself")
    try:
        tables = tomllib.loads(path.read_text())
    except OSError as error:
        raise RecipeError(f"{path.name}: no such recipe; there are: {', '.join(recipe_names())}") from error
    except ValueError as error:
        raise RecipeError(f"{path.name}: {error}") from error
    parent = tables.pop(EXTENDS, None)
    yield _Layer(path.name, tables)
    if parent is None:
        return
    if not isinstance(parent, str) or Path(parent).name != parent:
        raise RecipeError(f"{path.name}, {EXTENDS}: the name of a file in the same folder")
    yield from _layers(path.parent / parent, (*seen, path))


def _override(text: str) -> _Layer:
    """`key=value` as TOML; a value that is no TOML is a string."""
    key, equals, value = text.partition("=")
    for written in (value, f'"{value}"'):
        try:
            return _Layer(OVERRIDES, tomllib.loads(f"{key} = {written}"))
        except tomllib.TOMLDecodeError:
            continue
    raise RecipeError(f"{OVERRIDES} {text!r}: expected key=value" + ("" if equals else ", without blanks"))


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            value = _laid_over(under, value)
        merged[key] = value
    return merged


def _told(error: ValidationError, layers: Sequence[_Layer]) -> str:
    lines = []
    for wrong in error.errors():
        place = list(wrong["loc"])
        # Of a union, pydantic names the member that was chosen; the file has no such key.
        if place[:2] == ["task", "method"] and len(place) > 2:
            del place[2]
        where = next((layer.name for layer in layers if layer.holds(place)), layers[-1].name)
        what = "unknown key" if wrong["type"] == "extra_forbidden" else strip_prefix(wrong["msg"])
        lines.append(f"{where}, {'.'.join(map(str, place))}: {what}")
    return "; ".join(lines)
