"""Prints the output of commands: data on stdout, status and failures on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

# Of a table that is piped, unless COLUMNS says otherwise: wider ones fold. Programs read `--json`.
PIPE_WIDTH = 160
MIN_WIDTH = 40
GOOD, BAD, UNSURE = "green", "red", "yellow"


class Failure(Exception):
    """A command failed. `title`: what happened; `detail`: why; `hint`: what to do next."""

    def __init__(self, title: str, *, detail: str = "", hint: str = "", exit_code: int = 1) -> None:
        super().__init__(title)
        self.title, self.detail, self.hint, self.exit_code = title, detail, hint, exit_code


def stdout_console() -> Console:
    """Returns a console for data. It interprets neither markup nor emoji, which subject ids may resemble.

    In a pipe it writes no colours, whatever the environment asks for.
    """
    if sys.stdout.isatty():
        return Console(markup=False, emoji=False, highlight=False)
    return Console(
        markup=False,
        emoji=False,
        highlight=False,
        width=_pipe_width(),
        force_terminal=False,
        color_system=None,
    )


def _pipe_width() -> int:
    given = os.environ.get("COLUMNS", "")
    return max(MIN_WIDTH, int(given)) if given.isdecimal() else PIPE_WIDTH


def stderr_console() -> Console:
    """Returns a console for status messages; in a pipe without colours."""
    if sys.stderr.isatty():
        return Console(stderr=True, markup=False, emoji=False, highlight=False)
    return Console(
        stderr=True, markup=False, emoji=False, highlight=False, force_terminal=False, color_system=None
    )


def strip_control(text: object) -> str:
    """Replaces control characters, so that foreign text such as a file name cannot steer the terminal."""
    return "".join(c if c.isprintable() else "�" for c in str(text))


def print_status(text: str, style: str | None = None) -> None:
    """Prints one message on stderr without wrapping, since it may hold a command to copy."""
    stderr_console().print(Text(text, style=style or ""), soft_wrap=True)


def print_json(value: object) -> None:
    """Prints a JSON object on one line of stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """Prints one unchanged line on stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_styled(line: Text) -> None:
    """Prints one line on stdout, with its colours on a terminal, and never wraps it."""
    stdout_console().print(line, soft_wrap=True)


def make_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Builds a plain table. Columns that start with `>` are right-aligned; cells may be styled Text."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        name = column.removeprefix(">")
        table.add_column(name, justify="right" if column != name else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else strip_control(cell) for cell in row))
    return table


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table on stdout."""
    stdout_console().print(make_table(columns, rows))


def progress_bar() -> Progress:
    """Returns a transient progress bar on stderr, disabled if stderr is not a terminal."""
    console = stderr_console()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def print_failure(failure: Failure) -> None:
    """Prints a failure and its hint on stderr."""
    print_status(strip_control(failure.title), BAD)
    for line in failure.detail.splitlines():
        print_status(f"  {strip_control(line)}")
    for line in failure.hint.splitlines():
        print_status(f"→ {strip_control(line)}")
