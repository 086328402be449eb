"""The progress of every training: iterations done, time left and the loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from training.engine.distributed import rank
from training.engine.loop import OnStep
from training.engine.progress import Reporter


@contextmanager
def loss_bar(console: Console, label: str, *, total: int, completed: int = 0) -> Iterator[OnStep]:
    """Shows progress in process 0; the callback it gives takes iterations done and the loss."""
    if rank():
        yield lambda _done, _loss: None
        return
    with Reporter(console) as progress:
        progress.show(label, completed, total)
        yield lambda done, loss: progress.show(label, done, total, f"loss {loss:.3f}")
