"""Reads `faces_extra.zip`: faces of groups that LFW lacks, with one list beside the photos.

Rows with an identity are for tests, all others for training. Training and tests share this reader, so that
they agree on which is which.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from training.data.lfw import Photo
from training.data.records import DataSetError

COLUMNS = ("file", "set", "identity", "group", "terms")


@dataclass(frozen=True, slots=True)
class ExtraFace:
    """One photo. `identity`: the subject's name, empty if unknown."""

    photo: Photo
    file: str
    of_set: str
    identity: str
    group: str
    terms: str


def read_extra(archive: Path, *, labelled: bool) -> Iterator[ExtraFace]:
    """The photos with an identity, or those without, in the list's order.

    Raises DataSetError if the archive, its list, or a photo of the list is missing.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            folder, rows = _list(opened, archive.name)
            for row in rows:
                if bool(row["identity"]) is labelled:
                    name = f"{folder}/{row['file']}"
                    photo = Photo(name, opened.read(name))
                    yield ExtraFace(
                        photo, row["file"], row["set"], row["identity"], row["group"], row["terms"]
                    )
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataSetError(f"{archive.name} is not the archive of further faces: {error}") from error


def _list(opened: zipfile.ZipFile, archive: str) -> tuple[str, list[dict[str, str]]]:
    """The folder of the archive that holds everything, and the list's rows."""
    found = [name for name in opened.namelist() if name.endswith(".csv")]
    if len(found) != 1:
        raise DataSetError(f"{archive} holds {len(found)} lists (.csv), not one")
    rows = list(csv.DictReader(io.TextIOWrapper(opened.open(found[0]), encoding="utf-8", newline="")))
    missing = set(COLUMNS) - set(rows[0] if rows else ())
    if missing:
        raise DataSetError(f"{archive}: its list has no column {min(missing)!r}")
    return str(PurePosixPath(found[0]).parent), rows
