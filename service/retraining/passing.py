"""Uploaded archives that one job uses: received, unpacked, checked, and erased when that job ends.

    ROOT/upload-ID/set/    the photos, until their job has ended
    ROOT/.ID/              an archive that is arriving

They are readable by the account of the service alone, and no photo of them outlives its job.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from pathlib import Path

from service.errors import Overloaded
from service.retraining.archive import ArchiveLimits
from service.retraining.datasets import ABANDONED_S, UPLOADS_AT_ONCE, written_since
from service.retraining.receiving import ARCHIVE, receive_archive, refusing
from service.retraining.unpack import unpack

UPLOAD = re.compile(r"upload-[0-9a-f]{32}")
SET = "set"


class PassingUploads:
    """Stores and erases such uploads. Nothing else touches their directory.

    `wanted`: whether a file of this name is unpacked; the others are left out.
    """

    def __init__(self, root: Path, limits: ArchiveLimits, wanted: Callable[[str], bool]) -> None:
        self._root, self._limits, self._wanted = root, limits, wanted
        self._places: set[Path] = set()

    async def receive(
        self, chunks: AsyncIterator[bytes], declared_bytes: int, check: Callable[[Path], None]
    ) -> str:
        """Receives and unpacks an archive; returns its name.

        `check` is called with the directory of the files, and raises ArchiveError if they are of no use.
        Raises InvalidArchive if the archive is damaged, hostile or of no use, StorageFull, Overloaded, after
        which nothing is left of it.
        """
        if len(self._places) >= UPLOADS_AT_ONCE:
            raise Overloaded("other archives are arriving; try again", retry_after_s=10)
        name = uuid.uuid4().hex
        place = self._root / f".{name}"
        self._places.add(place)
        try:
            with refusing():
                await receive_archive(chunks, declared_bytes, place, self._limits)
                return await asyncio.to_thread(self._keep, place, f"upload-{name}", check)
        finally:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
            self._places.discard(place)

    def place_of(self, name: str) -> Path | None:
        """The directory of an upload's files; None if it is not here."""
        place = self._root / name / SET
        return place if UPLOAD.fullmatch(name) and place.is_dir() else None

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

    def _keep(self, place: Path, name: str, check: Callable[[Path], None]) -> str:
        """Unpacks the received archive, checks the files, and gives them their name."""
        (place / SET).mkdir(mode=0o700)
        unpack(place / ARCHIVE, place / SET, self._limits, wanted=self._wanted)
        (place / ARCHIVE).unlink()
        check(place / SET)
        place.rename(self._root / name)
        return name
