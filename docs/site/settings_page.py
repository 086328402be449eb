"""The page of all settings: types, limits and defaults from the service's class, words from `docs/`."""

from __future__ import annotations

import re
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from docs.site.tables import table
from service.settings import CHECKOUT, Settings

TABLE = re.compile(r"^\| variable \| default \| what it sets \|\n\|[-| ]+\|\n(?:\|.*\n)+", re.M)
ROW = re.compile(r"^\| (`HALFLIGHT_[^|]+?) \| (.+?) \| (.+) \|$", re.M)
NAME = re.compile(r"`(HALFLIGHT_[A-Z_]+)`")
KINDS = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`", Path: "path"}
LIMITS: tuple[tuple[type, str, str], ...] = (
    *((annotated_types.Ge, "ge", "at least"), (annotated_types.Gt, "gt", "more than")),
    *((annotated_types.Le, "le", "at most"), (annotated_types.Lt, "lt", "less than")),
)
INTRODUCTION = """# Settings

This page is made from the class `Settings` of the service when the site is built. Environment variables set
everything; options of `halflight serve` override them ([commands](commands.md#halflight-serve)). An unknown
name or a value outside its limits stops the start. Secrets are never printed.

"""


def settings_page(operating: str) -> str:
    """`operating`: the text of `docs/operating.md`, whose table says what each setting is for.

    Raises ValueError if a setting has no row there.
    """
    told = {
        name: (default, words)
        for names, default, words in ROW.findall(operating)
        for name in NAME.findall(names)
    }
    rows = []
    for field, info in Settings.model_fields.items():
        name = f"HALFLIGHT_{field.upper()}"
        if name not in told:
            raise ValueError(f"{name} has no row in docs/operating.md")
        default, words = told[name]
        rows.append((f"`{name}`", _kind(info), _default(info) or default, _linked(words)))
    return INTRODUCTION + table(("variable", "value", "default", "what it sets"), rows)


def _linked(words: str) -> str:
    """Links of that page, as they lead from here."""
    return re.sub(r"\]\((?!\w+:)([^)]*)\)", lambda found: f"]({_from_here(found.group(1))})", words)


def _from_here(target: str) -> str:
    return f"../operating.md{target}" if target.startswith("#") else f"../{target}"


def _kind(info: FieldInfo) -> str:
    kind = _of(info.annotation)
    limits = [
        f"{words} {getattr(mark, attribute):,}"
        for mark in info.metadata
        for limit, attribute, words in LIMITS
        if isinstance(mark, limit)
    ]
    return ", ".join([kind, *limits])


def _of(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        return _of(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "names between commas, or a JSON list"
    if annotation is SecretStr:
        return "secret"
    inner = [each for each in get_args(annotation) if each is not NoneType]
    if get_origin(annotation) is Union or inner:
        return _of(inner[0])
    return KINDS[annotation]


def _default(info: FieldInfo) -> str | None:
    """A plain default as it is; None where the words of `docs/` say it, such as for a place in a checkout."""
    value = info.default
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"`{value}`" if abs(value) < 10_000 or value % 1024 else _bytes(int(value))
    if isinstance(value, str) and value:
        return f"`{value}`"
    if isinstance(value, Path) and CHECKOUT.parent not in value.parents and not value.is_absolute():
        return f"`{value}`"
    return None


def _bytes(value: int) -> str:
    for size, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if value % size == 0:
            return f"`{value}` ({value // size} {name})"
    return f"`{value}`"
