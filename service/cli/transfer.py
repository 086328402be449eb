"""Shows how far downloads are: a bar with size and rate on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from service.bundles.catalogue import ModelFile
from service.cli.output import print_status, stderr_console

LINE_EVERY_S = 5.0
MB = 1e6
Advance = Callable[[ModelFile, int], None]


@contextmanager
def transfer_progress(models: Sequence[ModelFile]) -> Iterator[Advance]:
    """Yields what takes the bytes that came of a file."""
    console = stderr_console()
    if not console.is_terminal:
        yield TransferLines().advance
        return
    columns = (
        *(TextColumn("{task.description}", markup=False), BarColumn()),
        *(DownloadColumn(), TransferSpeedColumn()),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        tasks = {model.name: bars.add_task(model.name, total=model.size) for model in models}
        yield lambda model, count: bars.advance(tasks[model.name], count)


class TransferLines:
    """Lines on stderr: one when a file begins, one every few seconds, one when it is whole."""

    def __init__(self, *, every_s: float = LINE_EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s, self._clock = every_s, clock
        self._name, self._came, self._resumed = "", 0, 0
        self._began_s = self._said_s = 0.0

    def advance(self, model: ModelFile, count: int) -> None:
        """Takes note of `count` more bytes of a file; what an earlier run left comes first, in one piece."""
        now = self._clock()
        if model.name != self._name:
            self._name, self._came, self._began_s, self._said_s = model.name, count, now, now
            # Bytes that were there already say nothing about the rate.
            self._resumed = count
            print_status(f"{model.name}: downloading {model.size / MB:.1f} MB")
            return
        self._came += count
        if self._came >= model.size or now - self._said_s >= self._every_s:
            self._said_s = now
            rate = (self._came - self._resumed) / max(now - self._began_s, 1e-3)
            print_status(
                f"{model.name}: {self._came / MB:.1f} of {model.size / MB:.1f} MB"
                f" ({self._came / model.size:.0%}), {rate / MB:.1f} MB/s"
            )
