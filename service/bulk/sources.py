"""Opens a source of a bulk enrolment by what it is: a folder, a CSV or an archive.

A source can be walked through any number of times and holds no list of its photos, so that its memory
does not grow with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from service.bulk.archives import ArchiveSource
from service.bulk.folders import FolderSource
from service.bulk.lists import MANIFEST, ListSource
from service.bulk.types import BulkPhoto, Rejection, SourceCount

LIST_SUFFIXES = (".csv",)


class Source(Protocol):
    """Photos to enrol, in a fixed order."""

    def count(self) -> SourceCount:
        """Walks through the source without decoding a photo. Raises SourceError if it cannot be used."""
        ...

    def __iter__(self) -> Iterator[BulkPhoto | Rejection]:
        """Raises SourceError if the source changed or ended early."""
        ...


def open_source(path: Path) -> Source:
    """A folder (with `manifest.csv`, that list alone), a CSV, or else an archive."""
    if path.is_dir():
        return ListSource(path / MANIFEST) if (path / MANIFEST).is_file() else FolderSource(path)
    return ListSource(path) if path.suffix.lower() in LIST_SUFFIXES else ArchiveSource(path)
