"""Archives that were uploaded for a bulk enrolment, in `bulk` below the data directory."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import AsyncIterator, Collection
from pathlib import Path

from service.bulk.lists import MANIFEST
from service.bulk.names import is_other
from service.bulk.sources import Source, open_source
from service.bulk.types import SourceError
from service.retraining.archive import ArchiveError, ArchiveLimits
from service.retraining.passing import SET, UPLOAD, PassingUploads

MAX_TOP_FOLDERS = 3


class BulkUploads(PassingUploads):
    """Photos to enrol."""

    def __init__(self, root: Path, limits: ArchiveLimits) -> None:
        super().__init__(root, limits, _wanted)

    async def add(self, chunks: AsyncIterator[bytes], declared_bytes: int) -> str:
        """As `receive`; an archive without a photo is of no use."""
        return await self.receive(chunks, declared_bytes, _check)

    def open(self, name: str) -> Source:
        """The photos of an upload. Raises SourceError if it is not here."""
        if (place := self.place_of(name)) is None:
            raise SourceError("the photos are not in the data directory of this replica")
        return open_source(_root_of(place))


def forget_photos(root: Path, name: str, subject_ids: Collection[str]) -> None:
    """Erases the photos of subjects from an upload, and their lines of its list. Raises OSError.

    `root`: of the uploads. A job that reads them meanwhile finds them gone.
    """
    place = root / name / SET
    if not UPLOAD.fullmatch(name) or not place.is_dir():
        return
    top = _root_of(place)
    if (top / MANIFEST).is_file():
        _shorten(top, subject_ids)
        return
    for subject_id in subject_ids:
        if subject_id not in ("", ".", "..") and "/" not in subject_id:
            shutil.rmtree(top / subject_id, ignore_errors=True)


def _shorten(top: Path, subject_ids: Collection[str]) -> None:
    """Leaves out the lines of some subjects, and erases the photos that no other line names."""
    with (top / MANIFEST).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    left = [row for row in rows if (row.get("subject") or "").strip() not in subject_ids]
    named = {row["path"].strip() for row in left}
    part = top / f".{MANIFEST}.part"
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["subject", "path"])
        writer.writeheader()
        writer.writerows(left)
    part.replace(top / MANIFEST)
    for path in {row["path"].strip() for row in rows} - named:
        (top / path.replace("\\", "/")).unlink(missing_ok=True)


def _wanted(name: str) -> bool:
    return name.lower() == MANIFEST or not is_other(name, folder=False)


def _check(place: Path) -> None:
    try:
        photos = open_source(_root_of(place)).count().photos
    except SourceError as error:
        raise ArchiveError(str(error)) from error
    if not photos:
        raise ArchiveError("it holds no photos: they lie in a folder for each subject, or in manifest.csv")


def _root_of(place: Path) -> Path:
    """The folder of the subjects' folders, which may lie inside other folders."""
    for _ in range(MAX_TOP_FOLDERS):
        inside = list(place.iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            break
        if not (inside[0] / MANIFEST).is_file() and not any(one.is_dir() for one in inside[0].iterdir()):
            break
        place = inside[0]
    return place
