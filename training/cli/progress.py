"""The progress bar of every training: iterations done, time left and the loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.engine.distributed import rank
from training.engine.loop import OnStep


def bar_columns() -> tuple[TextColumn, BarColumn, MofNCompleteColumn, TimeRemainingColumn, TextColumn]:
    """Columns of a bar whose tasks have a field `loss`."""
    return (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )


@contextmanager
def loss_bar(console: Console, label: str, *, total: int, completed: int = 0) -> Iterator[OnStep]:
    """Draws a bar in process 0; the callback it gives takes iterations done and the loss."""
    with Progress(*bar_columns(), console=console, disable=bool(rank())) as progress:
        bar = progress.add_task(label, total=total, completed=completed, loss="")

        def step(done: int, loss: float) -> None:
            progress.update(bar, completed=done, loss=f"loss {loss:.3f}")

        yield step
