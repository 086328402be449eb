"""Archives that were uploaded for a bulk enrolment, unpacked below the data directory.

    bulk/upload-ID/set/    the photos, until their job has ended
    bulk/.ID/              an archive that is arriving

They are readable by the account of the service alone, and no photo of them outlives its job.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from pathlib import Path

from service.bulk.lists import MANIFEST
from service.bulk.names import is_other
from service.bulk.sources import Source, open_source
from service.bulk.types import SourceError
from service.errors import InvalidArchive, Overloaded, StorageFull
from service.retraining.archive import FULL, ArchiveError, ArchiveLimits
from service.retraining.datasets import ABANDONED_S, written_since
from service.retraining.receiving import ARCHIVE, receive_archive
from service.retraining.unpack import unpack

UPLOAD = re.compile(r"upload-[0-9a-f]{32}")
SET = "set"
NO_PHOTOS = "it holds no photos: put them into a folder for each subject, or name them in manifest.csv"
UPLOADS_AT_ONCE = 2
MAX_TOP_FOLDERS = 3


class BulkUploads:
    """Stores and erases uploads. Nothing else touches their directory."""

    def __init__(self, root: Path, limits: ArchiveLimits) -> None:
        self._root, self._limits = root, limits
        self._places: set[Path] = set()

    async def add(self, chunks: AsyncIterator[bytes], declared_bytes: int) -> str:
        """Receives and unpacks an archive; returns its name.

        Raises InvalidArchive if it is damaged, hostile or holds no photo, StorageFull, Overloaded, after
        which nothing is left of it.
        """
        if len(self._places) >= UPLOADS_AT_ONCE:
            raise Overloaded("other archives are arriving; try again", retry_after_s=10)
        name = uuid.uuid4().hex
        place = self._root / f".{name}"
        self._places.add(place)
        try:
            await receive_archive(chunks, declared_bytes, place, self._limits)
            return await asyncio.to_thread(self._keep, place, f"upload-{name}")
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise StorageFull("the disk of the service holds no more") from error
        except (ArchiveError, SourceError) as error:
            raise InvalidArchive(str(error)) from error
        finally:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
            self._places.discard(place)

    def open(self, name: str) -> Source:
        """The photos of an upload. Raises SourceError if it is not here."""
        place = self._root / name / SET
        if not UPLOAD.fullmatch(name) or not place.is_dir():
            raise SourceError("the photos are not in the data directory of this replica")
        return open_source(_root_of(place))

    async def erase(self, name: str) -> None:
        """Erases an upload; one that is gone already is none to erase."""
        if UPLOAD.fullmatch(name):
            await asyncio.to_thread(shutil.rmtree, self._root / name, ignore_errors=True)

    def remove_abandoned(self, in_use: Collection[str]) -> None:
        """Removes what no job uses and nobody wrote to for some hours: what a kill left behind."""
        since_s = time.time() - ABANDONED_S
        for place in [*self._root.glob(".*"), *self._root.glob("upload-*")]:
            with suppress(OSError):
                busy = place in self._places or place.name in in_use
                if not busy and not written_since(place, since_s):
                    shutil.rmtree(place, ignore_errors=True)

    def _keep(self, place: Path, name: str) -> str:
        """Unpacks the received archive, looks whether it can be enrolled, and gives it its name."""
        (place / SET).mkdir(mode=0o700)
        unpack(place / ARCHIVE, place / SET, self._limits, wanted=_wanted)
        (place / ARCHIVE).unlink()
        if not open_source(_root_of(place / SET)).count().photos:
            raise ArchiveError(
                "it holds no photos: they lie in a folder for each subject, or in manifest.csv"
            )
        place.rename(self._root / name)
        return name


def _wanted(name: str) -> bool:
    return name.lower() == MANIFEST or not is_other(name, folder=False)


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
