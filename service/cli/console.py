"""How the command line speaks: data on stdout, talk on stderr, never a traceback."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from rich.console import Console

FAILED = 1
talk = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False)


def emit(text: str) -> None:
    """Data, for people and pipes alike."""
    sys.stdout.write(text + "\n")


def emit_json(value: Any) -> None:
    emit(json.dumps(value, indent=1, ensure_ascii=False))


def fail(text: str, *, todo: str | None = None) -> NoReturn:
    """Say what is wrong and what to do next, and end with exit code 1."""
    talk.print(text, style="bold red", markup=False)
    if todo:
        talk.print(todo, markup=False)
    raise SystemExit(FAILED)


@contextmanager
def told(*kinds: type[Exception]) -> Iterator[None]:
    """Turn these errors into a message: their texts say what to do."""
    try:
        yield
    except kinds as error:
        fail(str(error))
