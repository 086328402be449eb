"""How a command ends when something is the caller's to put right: it is said, and the exit status is 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.text import Text

from faces.bundle import BundleError
from training.data.pairs import QueueError
from training.data.records import DataSetError
from training.engine.compile import CompilerError
from training.engine.devices import DeviceError
from training.engine.distributed import rank
from training.engine.loop import Diverged
from training.finetune.recipe import RecipeError
from training.synthesis.assets import SynthesisError
from training.synthesis.rendered.model import FaceKitError

WRONG = (
    BundleError,
    CompilerError,
    DataSetError,
    DeviceError,
    FaceKitError,
    QueueError,
    RecipeError,
    SynthesisError,
)


@contextmanager
def told(*more: type[Exception]) -> Iterator[None]:
    """Says errors of `WRONG` and `more` on stderr and exits with 2, a training that diverged with 1.

    Anything else is a fault of ours, and keeps its traceback.
    """
    wrong: tuple[type[Exception], ...] = (*WRONG, *more)
    try:
        yield
    except wrong as error:
        _end(error, status=2)
    except Diverged as error:
        _end(error, status=1)


def _end(error: Exception, *, status: int) -> None:
    say(Console(stderr=True), str(error), style="red")
    raise typer.Exit(status) from error


def say(console: Console, text: str, *, style: str = "") -> None:
    """Once, whatever the number of processes; the text is not markup."""
    if not rank():
        console.print(Text(text, style=style), soft_wrap=True)
