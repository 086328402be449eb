"""Where training jobs find the interpreter, the data sets and the weights on this machine."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from service.errors import InvalidParameter, TrainingUnavailable
from service.retraining.archive import ArchiveError
from service.retraining.datasets import DATASET_ID, root_of, uploaded_root

SMOKE, ENROLLED = "smoke", "enrolled"
DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,7}")
# The file that makes a directory a finished prepared set.
SET_FILE = "set.json"
NEEDED = ("torch", "onnx", "training", "export")
FIND_MODULES_S = 30.0
FIND_MODULES = (
    "import importlib.util, sys;"
    "print(*[name for name in sys.argv[1:] if importlib.util.find_spec(name) is None])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingEnvironment:
    """`python`: the interpreter that trains. `datasets`: the root of the sets that a request may name.

    `uploads`: the root of uploaded sets. `facekit`: the directory of the face model that renders the
    `smoke` set. `trunk`: the checkpoint to start from. `keeps_crops`: whether enrolled crops are kept.
    """

    python: Path
    datasets: Path | None
    uploads: Path
    facekit: Path
    trunk: Path
    keeps_crops: bool

    def find_dataset(self, name: str) -> Path | None:
        """The directory of a named or uploaded set; None for `smoke` and `enrolled`.

        Raises InvalidParameter if the set is not there.
        """
        if name == SMOKE:
            if not self.facekit.is_dir():
                raise InvalidParameter(
                    "`dataset`: smoke renders faces with the light ICT FaceKit model (ict_facekit_light.npz),"
                    " which is not there: name its directory in HALFLIGHT_FACEKIT"
                )
            return None
        if name == ENROLLED:
            if not self.keeps_crops:
                raise InvalidParameter(
                    "`dataset`: enrolled needs the crops of enrolled samples, and this service keeps none"
                    " (HALFLIGHT_KEEP_CROPS)"
                )
            return None
        if DATASET_ID.fullmatch(name):
            return uploaded_root(self.uploads, name)
        return self._named(name)

    def _named(self, name: str) -> Path:
        if self.datasets is None:
            raise InvalidParameter(
                "`dataset`: no directory of data sets is configured: set HALFLIGHT_DATASETS, or ask for an"
                " uploaded set, `smoke` or `enrolled`"
            )
        if not DATASET.fullmatch(name):
            raise InvalidParameter(
                "`dataset`: name a directory below HALFLIGHT_DATASETS, an uploaded set, `smoke` or `enrolled`"
            )
        root = self.datasets.resolve()
        found = (root / name).resolve()
        # A link may lead out of the root: its target counts.
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

    def check_interpreter(self) -> None:
        """Raises TrainingUnavailable, naming what is missing."""
        if missing := missing_modules(self.python):
            raise TrainingUnavailable(
                f"the interpreter that trains lacks {', '.join(missing)}: install the `train` extra"
                " (`pip install halflight[train]`, in a checkout `make train`), or name an interpreter"
                " that has it in HALFLIGHT_TRAIN_PYTHON"
            )

    def check_trunk(self) -> None:
        """Raises TrainingUnavailable if the checkpoint to start from is not there."""
        if not self.trunk.is_file():
            raise TrainingUnavailable("the checkpoint to start from is not there: set HALFLIGHT_TRUNK")


def missing_modules(python: Path) -> list[str]:
    """The modules that the interpreter lacks for training; imports none of them.

    Raises TrainingUnavailable if the interpreter cannot be started.
    """
    command = [str(python), "-c", FIND_MODULES, *NEEDED]
    env = {**os.environ, "PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=FIND_MODULES_S, check=True, env=env
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise TrainingUnavailable("the interpreter in HALFLIGHT_TRAIN_PYTHON cannot be started") from error
    return done.stdout.split()
