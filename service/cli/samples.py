"""Reads the synthetic sample subjects that come with the project."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from service.cli.output import Failure

SAMPLES = Path(__file__).resolve().parent.parent / "samples"


@dataclass(frozen=True, slots=True)
class Subject:
    """One synthetic subject. The service must answer unknown for one that is not enrolled."""

    subject_id: str
    enrol: bool
    vis: tuple[Path, ...]
    nir_masked: tuple[Path, ...]


def load_samples(root: Path = SAMPLES) -> tuple[Subject, ...]:
    """Reads the sample subjects. Raises Failure if they are missing."""
    try:
        index = json.loads((root / "samples.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure("the sample subjects are missing", detail=str(error.strerror)) from error
    return tuple(
        Subject(
            row["subject_id"],
            row["enrol"],
            tuple(root / row["subject_id"] / name for name in row["vis"]),
            tuple(root / row["subject_id"] / name for name in row["nir_masked"]),
        )
        for row in index["subjects"]
    )
