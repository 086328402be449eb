"""Digests that identify the data of a run."""

from __future__ import annotations

import hashlib
from pathlib import Path

from faces.bundle import file_sha256
from training.data.prepared import PreparedSet
from training.data.records import DataSetError


def file_digest(path: Path) -> str:
    """The SHA-256 of a file. Raises DataSetError if it is missing."""
    try:
        return file_sha256(path)
    except OSError as error:
        raise DataSetError(f"{path.name}: no such file") from error


def rows_digest(prepared: PreparedSet) -> str:
    """The SHA-256 of all rows, splits and roles included."""
    digest = hashlib.sha256()
    for row in prepared.rows:
        digest.update(row.model_dump_json(exclude_defaults=True).encode())
    return digest.hexdigest()
