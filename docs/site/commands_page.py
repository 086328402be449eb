"""The page of all commands, made from the command line's own description of itself."""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from typer.main import get_command

from docs.site.tables import table
from service.cli.main import app

INTRODUCTION = """# Commands

This page is made from the command line itself when the site is built. `halflight COMMAND --help` says the
same in a terminal. In a checkout the command is `.venv/bin/halflight`. Commands that ask a service take its
address from `HALFLIGHT_URL` and the key from `HALFLIGHT_KEY`.

"""
KINDS: dict[Any, str] = {str: "text", int: "whole number", float: "number", Path: "path", bool: ""}


def commands_page() -> str:
    """One section for each command, with its arguments and options."""
    # Typer brings a parser of its own, whose classes it does not export.
    root: Any = get_command(app)
    return INTRODUCTION + "\n".join(_section(path, command) for path, command in _walk(root, ("halflight",)))


def _walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _walk(inner, (*path, name))
    else:
        yield path, command


def _section(path: tuple[str, ...], command: Any) -> str:
    parameters = [one for one in command.params if not one.hidden]
    arguments = [one for one in parameters if not one.opts[0].startswith("-")]
    options = [one for one in parameters if one not in arguments]
    named = [one.metavar or one.name.upper() for one in arguments]
    usage = " ".join([*path, *named, *(["[OPTIONS]"] if options else [])])
    text = f"## {' '.join(path)}\n\n{command.help or ''}\n\n```text\n{usage}\n```\n\n"
    rows = [(f"`{name}`", _help(one), "") for name, one in zip(named, arguments, strict=True)]
    rows += [(_names(one), _help(one), _default(one)) for one in options]
    return text + (table(("argument or option", "what it is", "default"), rows) if rows else "")


def _names(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    kind = "" if option.is_flag else _kind(option.type_descriptor.annotation)
    return f"{names} {kind}".strip()


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(str(value) for value in get_args(annotation))
    if get_origin(annotation) in (list, tuple):
        return f"{_kind(get_args(annotation)[0])}, repeatable"
    if get_origin(annotation) in (Union, types.UnionType):
        return _kind(get_args(annotation)[0])
    return KINDS[annotation]


def _help(parameter: Any) -> str:
    words = parameter.help or ""
    limits = [
        f"{word} {value}"
        for word, value in (("at least", parameter.min), ("at most", parameter.max))
        if value is not None
    ]
    where = f"Also from `{parameter.envvar}`." if isinstance(parameter.envvar, str) else ""
    return " ".join(filter(None, [words, f"({', '.join(limits)})" if limits else "", where]))


def _default(option: Any) -> str:
    if option.required:
        return "needed"
    if option.default is None or option.default is False or callable(option.default):
        return ""
    return f"`{str(option.default).lower() if option.default is True else option.default}`"
