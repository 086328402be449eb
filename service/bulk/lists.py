"""Reads a CSV of photos: subject, path, and optionally display_name, metadata (JSON) and spectrum.

Its paths are relative to its folder and lead to files below it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from faces.strict import strip_prefix
from service.bulk.folders import read_photo
from service.bulk.types import BulkPhoto, SourceCount, SourceError

MANIFEST = "manifest.csv"


def _parsed(given: object) -> object:
    """The JSON of a cell; nothing of an empty one. Raises ValueError."""
    if not isinstance(given, str) or not given.strip():
        return None
    try:
        return json.loads(given)
    except ValueError as error:
        raise ValueError("is no JSON object") from error


def _or_none(given: object) -> object:
    return None if isinstance(given, str) and not given.strip() else given


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    subject: Annotated[str, Field(min_length=1)]
    path: Annotated[str, Field(min_length=1)]
    display_name: Annotated[str | None, BeforeValidator(_or_none)] = None
    metadata: Annotated[dict[str, Any] | None, BeforeValidator(_parsed)] = None
    spectrum: Annotated[Literal["vis", "nir"] | None, BeforeValidator(_or_none)] = None


class ListSource:
    """Photos in the order of the CSV's lines."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def count(self) -> SourceCount:
        """Checks every line before anything is enrolled. Raises SourceError, which names the line."""
        photos = sum(1 for _ in self)
        return SourceCount(photos, photos, 0)

    def __iter__(self) -> Iterator[BulkPhoto]:
        number = 1
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                rows = csv.DictReader(file, strict=True)
                for row in rows:
                    number = rows.line_num
                    yield self._photo(row, number)
        except OSError as error:
            raise SourceError(f"{self._path.name} cannot be read: {error.strerror}") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise SourceError(f"{self._path.name} is no CSV in UTF-8") from error
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(part) for part in fault["loc"]) or "line"
            said = f"{where}: {strip_prefix(fault['msg'])}"
            raise SourceError(f"{self._path.name}, line {number}: {said}") from error

    def _photo(self, row: dict[str | Any, str | Any], number: int) -> BulkPhoto:
        line = _Line.model_validate({str(name): cell for name, cell in row.items() if cell is not None})
        place = PurePosixPath(line.path.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or not place.parts:
            raise SourceError(
                f"{self._path.name}, line {number}: paths must lead to files below the folder of the CSV"
            )
        return BulkPhoto(
            name=place.as_posix(),
            subject_id=line.subject,
            read=lambda: read_photo(self._path.parent / place),
            spectrum=line.spectrum,
            display_name=line.display_name,
            metadata=line.metadata,
        )
