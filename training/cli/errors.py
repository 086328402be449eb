"""How a command ends on an error that its caller can put right: a message and an exit status."""

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
from training.engine.recipe_file import RecipeError
from training.synthesis.assets import SynthesisError
from training.synthesis.rendered.model import FaceKitError

USER_ERRORS = (
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
def exit_on_user_error(*more: type[Exception]) -> Iterator[None]:
    """Prints errors of `USER_ERRORS` and `more` on stderr and exits with 2; a diverged training exits with 1.

    Every other error is a bug and keeps its traceback.
    """
    expected: tuple[type[Exception], ...] = (*USER_ERRORS, *more)
    try:
        yield
    except expected as error:
        _end(error, status=2)
    except Diverged as error:
        _end(error, status=1)


def _end(error: Exception, *, status: int) -> None:
    print_once(Console(stderr=True), str(error), style="red")
    raise typer.Exit(status) from error


def print_once(console: Console, text: str, *, style: str = "") -> None:
    """Prints a text, which is not markup, in process 0 alone."""
    if not rank():
        console.print(Text(text, style=style), soft_wrap=True)
