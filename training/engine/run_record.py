"""`run.json`: what a run consists of and how far it is, so that it can be repeated and resumed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import torch

from faces.files import write_whole
from faces.strict import Strict
from training.data.records import DataSetError

RUN = "run.json"


class RunRecord(Strict):
    """`recipe`: as resolved. `start`: SHA-256 of the initial checkpoint. `seconds`: of all parts of the run
    up to the last checkpoint. `loss`: the mean of the last tenth of a finished run."""

    recipe: dict[str, Any]
    set_name: str
    set_digest: str
    set_made_by: str
    synthetic: str | None
    start: str | None
    commit: str | None
    torch: str
    device: str
    processes: int
    iterations: int = 0
    images_seen: int = 0
    seconds: float = 0.0
    loss: float | None = None
    finished: bool = False

    def write(self, out: Path) -> None:
        write_whole(out / RUN, (self.model_dump_json(indent=1) + "\n").encode())

    def check_same(self, before: RunRecord) -> None:
        """Raises DataSetError if `before` is the record of another run."""
        for name in ("recipe", "set_name", "set_digest", "start"):
            if getattr(self, name) != getattr(before, name):
                raise DataSetError(
                    f"{RUN} there has another {name.split('_')[0]} than this run: choose another folder"
                )


def read_record(out: Path) -> RunRecord | None:
    """The record in a folder; None if there is none. Raises DataSetError if the file is not a run record."""
    try:
        return RunRecord.model_validate_json((out / RUN).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataSetError(f"{RUN} there is not one of this command: choose another folder") from error


def device_name(device: torch.device) -> str:
    """The name of the kind of device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def commit() -> str | None:
    """The commit of this checkout, with `-dirty` if files differ from it; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(  # noqa: S603 - a fixed command
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
