"""Labelled photos that were uploaded for one evaluation, in `evaluations` below the data directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

from faces.types import Role
from service.evaluation.labelled import MANIFEST, OTHER_SUFFIXES, LabelError, read_labelled
from service.retraining.archive import ArchiveError, ArchiveLimits
from service.retraining.datasets import root_of
from service.retraining.passing import PassingUploads


class LabelledUploads(PassingUploads):
    """Probes of a site's cameras with their subjects, and references unless the gallery has them."""

    def __init__(self, root: Path, limits: ArchiveLimits) -> None:
        super().__init__(root, limits, _wanted)

    async def add(self, chunks: AsyncIterator[bytes], declared_bytes: int, *, needs: tuple[Role, ...]) -> str:
        """As `receive`; an archive without a photo of each needed role is of no use."""

        def check(place: Path) -> None:
            try:
                read_labelled(root_of(place), needs=needs)
            except LabelError as error:
                raise ArchiveError(str(error)) from error

        return await self.receive(chunks, declared_bytes, check)

    def root(self, name: str) -> Path | None:
        """The folder with the subjects' folders or the list; None if the upload is not here."""
        place = self.place_of(name)
        return None if place is None else root_of(place)


def _wanted(name: str) -> bool:
    return name == MANIFEST or PurePosixPath(name).suffix.lower() not in OTHER_SUFFIXES
