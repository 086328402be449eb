"""`run.json`: what a run was made of and how far it is, so that it can be repeated and gone on with."""

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
    """`recipe`: as resolved. `start`: SHA-256 of the checkpoint it began with. `seconds`: of all parts of
    the run up to the last checkpoint. `loss`: mean of the last tenth, once finished."""

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
        """Raises DataSetError where `before` was another run than this one."""
        for name in ("recipe", "set_name", "set_digest", "start"):
            if getattr(self, name) != getattr(before, name):
                raise DataSetError(
                    f"{RUN} there has another {name.split('_')[0]} than this run: choose another folder"
                )


def read_record(out: Path) -> RunRecord | None:
    """None where no run has begun. Raises DataSetError where the file is none of ours."""
    try:
        return RunRecord.model_validate_json((out / RUN).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataSetError(f"{RUN} there is not one of this command: choose another folder") from error


def device_name(device: torch.device) -> str:
    """The kind of device, in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def commit() -> str | None:
    """Of this checkout, with `-dirty` where files differ from it; None outside of one."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(  # noqa: S603 - a fixed command
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
