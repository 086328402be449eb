"""Marks a folder in a data set's layout whose pictures nobody photographed.

A set that is prepared from such a folder says so in every row, so that none of its figures stands beside one
of the real data set.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from faces.files import write_whole
from faces.strict import Strict
from training.data.records import DataSetError

GENERATED_FILE = "generated.json"


class Generated(Strict):
    """`generator`: for the rows; `synthetic`: what the set says of itself."""

    generator: str
    synthetic: str


def read_generated(root: Path) -> Generated | None:
    """The mark of a data set's folder, or None. Raises DataSetError for one that cannot be read."""
    path = root / GENERATED_FILE
    if not path.is_file():
        return None
    try:
        return Generated.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataSetError(f"{GENERATED_FILE} is damaged: write the folder again") from error


def write_generated(root: Path, mark: Generated) -> None:
    """Marks the folder."""
    write_whole(root / GENERATED_FILE, (mark.model_dump_json() + "\n").encode())
