"""Shows how far a long piece of work is: a bar on a terminal, lines in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 15.0


class Reporter:
    """Shows one piece of work at a time; a context manager.

    A terminal gets a bar. Anywhere else gets a line when a piece begins and when it ends, and one every
    `LINE_EVERY_S` between, so that a log or a job's output shows that the work goes on.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._label: str | None = None
        self._said_at = 0.0
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=console,
            )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, label: str, done: int, total: int, note: str = "") -> None:
        """Says that `done` of `total` of the piece of work `label` are done."""
        begun = label != self._label
        self._label = label
        if self._bar is not None:
            if begun:
                for task in self._bar.task_ids:
                    self._bar.remove_task(task)
                self._task = self._bar.add_task(label, total=total, note=note)
            self._bar.update(self._task, completed=done, total=total, note=note)
            return
        now = time.monotonic()
        if begun or done >= total or now - self._said_at >= LINE_EVERY_S:
            self._said_at = now
            text = f"{label}: {done} of {total}" + (f", {note}" if note else "")
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
