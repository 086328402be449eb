"""Recipes as strict TOML: everything that decides a training run but its data.

A recipe may extend another one in its folder (`extends = "paper.toml"`): its tables are merged over those
of the other, key by key. An unknown key is an error that names its file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from faces.strict import strip_prefix

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
EXTENDS, OVERRIDES = "extends", "--set"
AnyRecipe = TypeVar("AnyRecipe", bound=BaseModel)


class RecipeError(ValueError):
    """A recipe that cannot be read; the text names the file and the key."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """The tables of one file or of the command line."""

    name: str
    tables: Mapping[str, Any]

    def holds(self, place: Sequence[str | int]) -> bool:
        here: Any = self.tables
        for key in place:
            if not isinstance(here, Mapping) or key not in here:
                return False
            here = here[key]
        return True


def read_recipe(kind: type[AnyRecipe], name: str, overrides: Sequence[str] = ()) -> AnyRecipe:
    """A recipe of any kind, with overrides (`task.method.queue=64`) merged over it.

    `name`: a file's path, or a name of `recipes/`.
    Raises RecipeError naming the file and the key.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    layers = [_override(text) for text in reversed(overrides)] + list(_layers(path))
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        merged = _merged_over(merged, layer.tables)
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        raise RecipeError(_messages(error, layers)) from error


def recipe_names() -> tuple[str, ...]:
    """Names of the fine-tuning recipes in `recipes/`, without the base recipe."""
    stems = sorted(path.stem for path in RECIPES.glob("*.toml"))
    others = ("paper", "pretrain", "builtin", "detector", "matcher")
    return tuple(stem for stem in stems if not stem.startswith(others))


def _layers(path: Path, seen: tuple[Path, ...] = ()) -> Iterator[_Layer]:
    """The file, then the files that it extends."""
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
    """Parses `key=value` as TOML; a value that is not TOML is a string."""
    key, equals, value = text.partition("=")
    for written in (value, f'"{value}"'):
        try:
            return _Layer(OVERRIDES, tomllib.loads(f"{key} = {written}"))
        except tomllib.TOMLDecodeError:
            continue
    raise RecipeError(f"{OVERRIDES} {text!r}: expected key=value" + ("" if equals else ", without blanks"))


def _merged_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            value = _merged_over(under, value)
        merged[key] = value
    return merged


def _messages(error: ValidationError, layers: Sequence[_Layer]) -> str:
    lines = []
    for wrong in error.errors():
        place = list(wrong["loc"])
        # pydantic adds the chosen member of a union to the location; the file has no such key.
        if place[:2] == ["task", "method"] and len(place) > 2:
            del place[2]
        where = next((layer.name for layer in layers if layer.holds(place)), layers[-1].name)
        what = "unknown key" if wrong["type"] == "extra_forbidden" else strip_prefix(wrong["msg"])
        lines.append(f"{where}, {'.'.join(map(str, place))}: {what}")
    return "; ".join(lines)
