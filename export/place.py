"""Says whether a bundle may be made at a path."""

from __future__ import annotations

from pathlib import Path

from export.graph import ExportError
from faces.bundle import MANIFEST_NAME


def check_free(out: Path, *, replace: bool) -> None:
    """Raises ExportError if `out` exists and must not be replaced."""
    if not out.exists():
        return
    if not replace:
        raise ExportError(f"{out.name} exists: choose another --out, or say --replace")
    if not (out / MANIFEST_NAME).is_file():
        raise ExportError(f"{out.name} is no bundle: it is left alone")
