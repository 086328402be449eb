"""Opens the enrolled crops for a training process, in the private part of the job's directory.

The runner removes that part when the job ends, whatever its outcome.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

from faces.enrolled import EnrolledRow, EnrolledWriter, is_written
from faces.types import Pixels
from service.crops import CropUnreadable, decode_crop
from service.store.database import Database
from service.store.records import SampleRecord, StoredCrop

PAGE = 100


class EnrolledCrops:
    """Reads the crops from the database page by page and opens them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def write(self, directory: Path, alignment: str) -> None:
        """Writes every kept crop of this alignment that opens, once for a job. Raises StoreError, OSError.

        A subject that is erased later stays in these files until the job ends.
        """
        if is_written(directory):
            return
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        writer = EnrolledWriter(directory, alignment)
        after: str | None = None
        subjects = samples = 0
        while True:
            async with self._db.read() as uow:
                page = await uow.subjects.page(after, PAGE)
                found = [await uow.samples.of_subject(subject.subject_id) for subject in page]
                every = [sample.sample_id for group in found for sample in group]
                kept = await uow.crops.of_samples(every, alignment)
            if not page:
                break
            after = page[-1].subject_id
            rows, sealed = _numbered(found, kept, subjects, samples)
            subjects, samples = subjects + len(page), samples + len(every)
            await asyncio.to_thread(self._add, writer, rows, sealed)
        await asyncio.to_thread(writer.close)

    def _add(self, writer: EnrolledWriter, rows: Sequence[EnrolledRow], sealed: Sequence[StoredCrop]) -> None:
        opened: list[EnrolledRow] = []
        crops: list[Pixels] = []
        for row, crop in zip(rows, sealed, strict=True):
            try:
                crops.append(decode_crop(crop).pixels)
            except CropUnreadable:
                continue
            opened.append(row)
        writer.add(opened, crops)


def _numbered(
    groups: Sequence[Sequence[SampleRecord]], kept: dict[str, StoredCrop], subjects: int, samples: int
) -> tuple[list[EnrolledRow], list[StoredCrop]]:
    """The rows and crops of samples with a crop, numbered from `subjects` and `samples` on."""
    rows: list[EnrolledRow] = []
    sealed: list[StoredCrop] = []
    for subject, group in enumerate(groups, subjects):
        for sample in group:
            if (crop := kept.get(sample.sample_id)) is not None:
                rows.append(
                    EnrolledRow(
                        subject=subject, sample=samples, spectrum=sample.spectrum, masked=sample.masked
                    )
                )
                sealed.append(crop)
            samples += 1
    return rows, sealed
