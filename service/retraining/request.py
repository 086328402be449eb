"""Retraining: what may be asked for, and whether this service can do it at all."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from service.errors import InvalidParameter, TrainingUnavailable
from service.jobs.queue import JobQueue
from service.retraining.archive import ArchiveError
from service.retraining.datasets import DATASET_ID, root_of, uploaded_root

KIND = "retrain"
Preset = Literal["hsst", "hsst+distill", "adapter"]
Activate = Literal["manual", "if_better"]
MAX_ITERATIONS = 10_000_000
MAX_MINUTES = 14 * 24 * 60
SMOKE, ENROLLED = "smoke", "enrolled"
DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,7}")
# The file that makes a directory a finished prepared set.
SET_FILE = "set.json"
NEEDED = ("torch", "onnx", "training", "export")
LOOK_S = 30.0
LOOK = (
    "import importlib.util, sys;"
    "print(*[name for name in sys.argv[1:] if importlib.util.find_spec(name) is None])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraining:
    """What an administrator asks for. At most one of `iterations`, `epochs` and `minutes` is given."""

    dataset: str
    preset: Preset
    iterations: int | None
    epochs: float | None
    minutes: float | None
    seed: int
    activate: Activate

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlaces:
    """Where retraining finds things on this machine. `datasets`: the root of all sets that may be named;
    `uploads`: of those that were uploaded.

    `keeps_crops`: whether the service has crops of its own to learn from.
    """

    python: Path
    datasets: Path | None
    uploads: Path
    facekit: Path
    trunk: Path
    keeps_crops: bool


class Retrainer:
    """Checks and queues retraining jobs."""

    def __init__(self, queue: JobQueue, places: TrainingPlaces) -> None:
        self._queue, self._places = queue, places

    async def submit(self, asked: Retraining, *, actor: str) -> str:
        """Queue the job; its id. Raises InvalidParameter, TrainingUnavailable, JobRunning, StoreError."""
        await asyncio.to_thread(check_dataset, self._places, asked.dataset)
        await asyncio.to_thread(check_training, self._places)
        if not self._places.trunk.is_file():
            raise TrainingUnavailable("the checkpoint to start from is not there: set HALFLIGHT_TRUNK")
        return await self._queue.submit(KIND, {**asked.as_dict(), "actor": actor}, actor=actor, sole=True)


def check_dataset(places: TrainingPlaces, name: str) -> Path | None:
    """The directory of a named or uploaded set; None for `smoke` and `enrolled`. Raises InvalidParameter."""
    if name == SMOKE:
        if not places.facekit.is_dir():
            raise InvalidParameter(
                "`dataset`: smoke renders faces with the light ICT FaceKit model (ict_facekit_light.npz),"
                " which is not there: name its directory in HALFLIGHT_FACEKIT"
            )
        return None
    if name == ENROLLED:
        if not places.keeps_crops:
            raise InvalidParameter(
                "`dataset`: enrolled needs the crops of enrolled samples, and this service keeps none"
                " (HALFLIGHT_KEEP_CROPS)"
            )
        return None
    if DATASET_ID.fullmatch(name):
        return uploaded_root(places.uploads, name)
    if places.datasets is None:
        raise InvalidParameter(
            "`dataset`: no directory of data sets is configured: set HALFLIGHT_DATASETS, or ask for an"
            " uploaded set, `smoke` or `enrolled`"
        )
    if not DATASET.fullmatch(name):
        raise InvalidParameter(
            "`dataset`: name a directory below HALFLIGHT_DATASETS, an uploaded set, `smoke` or `enrolled`"
        )
    root = places.datasets.resolve()
    found = (root / name).resolve()
    # A link may lead out of the root: what counts is where it ends.
    if not found.is_relative_to(root) or not found.is_dir():
        raise InvalidParameter("`dataset`: there is no such directory below HALFLIGHT_DATASETS")
    if (found / SET_FILE).is_file():
        return found
    try:
        return root_of(found)
    except ArchiveError as error:
        raise InvalidParameter(
            f"`dataset`: no prepared set (`python -m training prepare`), and no labelled photos: {error}"
        ) from error


def check_training(places: TrainingPlaces) -> None:
    """Raises TrainingUnavailable, which names what is missing."""
    if missing := missing_modules(places.python):
        raise TrainingUnavailable(
            f"the interpreter that trains lacks {', '.join(missing)}: install the `train` extra"
            " (`pip install halflight[train]`, in a checkout `make train`), or name an interpreter"
            " that has it in HALFLIGHT_TRAIN_PYTHON"
        )


def missing_modules(python: Path) -> list[str]:
    """What the interpreter that would train lacks; nothing is imported. Raises TrainingUnavailable."""
    command = [str(python), "-c", LOOK, *NEEDED]
    env = {**os.environ, "PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LOOK_S, check=True, env=env)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise TrainingUnavailable("the interpreter in HALFLIGHT_TRAIN_PYTHON cannot be started") from error
    return done.stdout.split()


def request_of(asked: Mapping[str, Any]) -> Retraining:
    """A stored request without what only the service needs."""
    return Retraining(**{name: asked[name] for name in Retraining.__slots__})
