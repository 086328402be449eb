"""Archives that were uploaded for a bulk enrolment, in `bulk` below the data directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from service.bulk.lists import MANIFEST
from service.bulk.names import is_other
from service.bulk.sources import Source, open_source
from service.bulk.types import SourceError
from service.retraining.archive import ArchiveError, ArchiveLimits
from service.retraining.passing import PassingUploads

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
