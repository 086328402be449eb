"""What a command says: data on stdout, talk on stderr, and failures as text without a traceback."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

# Wide enough that no path or id is folded: what reads a pipe takes a row for a line.
PIPE_WIDTH = 10_000
GOOD, BAD, UNSURE = "green", "red", "yellow"


class Failure(Exception):
    """A command cannot do what was asked: what happened, why, and what to do next."""

    def __init__(self, title: str, *, detail: str = "", hint: str = "", exit_code: int = 1) -> None:
        super().__init__(title)
        self.title, self.detail, self.hint, self.exit_code = title, detail, hint, exit_code


def stdout() -> Console:
    """For data. Nothing is taken for markup or emoji: subject ids may look like either."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(markup=False, emoji=False, highlight=False, width=width)


def stderr() -> Console:
    """For talk."""
    return Console(stderr=True, markup=False, emoji=False, highlight=False)


def clean(text: object) -> str:
    """Text of others without control characters: a file name must not steer the terminal."""
    return "".join(c if c.isprintable() else "�" for c in str(text))


def say(text: str, style: str | None = None) -> None:
    """One remark on stderr, never wrapped: it may hold a command to copy."""
    stderr().print(Text(text, style=style or ""), soft_wrap=True)


def emit(value: object) -> None:
    """One JSON object on one line of stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def emit_text(text: str) -> None:
    """One line of stdout as it is."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A plain table; columns that start with `>` are set flush right, cells may be styled Text."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        name = column.removeprefix(">")
        made.add_column(name, justify="right" if column != name else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else clean(cell) for cell in row))
    return made


def show(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout."""
    stdout().print(table(columns, rows))


def progress() -> Progress:
    """A bar on stderr that goes away at the end; silent where stderr is no terminal."""
    console = stderr()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def report(failure: Failure) -> None:
    """Say on stderr what went wrong and what to do."""
    say(clean(failure.title), BAD)
    for line in failure.detail.splitlines():
        say(f"  {clean(line)}")
    for line in failure.hint.splitlines():
        say(f"→ {clean(line)}")
