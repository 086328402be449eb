"""Uploaded data sets, unpacked below the data directory and named by the digest of their archive.

    datasets/upload-DIGEST/set/         the photos, as `root/<subject>/{vis,nir}/*` or with a manifest.csv
    datasets/upload-DIGEST/facts.json   the description, written before the directory gets its name
    datasets/.NAME/                     a set that is being uploaded or erased

The photos stay there as they were sent, readable by the account of the service only, until an
administrator erases them.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from faces.files import write_json
from service.errors import (
    DatasetNotFound,
    InvalidParameter,
    JobRunning,
    Overloaded,
)
from service.jobs.queue import JobQueue
from service.retraining.archive import ArchiveError, ArchiveLimits
from service.retraining.receiving import ARCHIVE, receive_archive, refusing
from service.retraining.unpack import unpack
from service.store.database import Database
from service.store.job_records import FINAL

DATASET_ID = re.compile(r"upload-[0-9a-f]{32}")
SET, FACTS = "set", "facts.json"
PICTURES = (".bmp", ".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
BESIDE = (".csv", ".pos")
MANIFEST = "manifest.csv"
# Folders of a subject: by spectrum for training, by role for an evaluation by the service.
KINDS = ("vis", "nir", "references", "probes")
MAX_TOP_FOLDERS = 3
UPLOADS_AT_ONCE = 2
# An upload that was not written to for so long is what a kill left behind.
ABANDONED_S = 6 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedSet:
    """`digest`: SHA-256 of the archive. `ignored`: number of entries that are neither photos nor lists."""

    dataset_id: str
    digest: str
    files: int
    bytes: int
    ignored: int
    created_at: str


class UploadedSets:
    """Stores, lists and erases uploaded sets. Nothing else touches their directory."""

    def __init__(self, db: Database, queue: JobQueue, root: Path, limits: ArchiveLimits) -> None:
        self._db, self._queue, self._root, self._limits = db, queue, root, limits
        self._arriving = 0
        # Where uploads of this process arrive; other processes may share the directory.
        self._places: set[Path] = set()

    async def add(self, chunks: AsyncIterator[bytes], declared_bytes: int, *, actor: str) -> UploadedSet:
        """Stores an archive. The same archive again is the same set.

        `declared_bytes`: the length that the client announced, 0 if none. Raises InvalidArchive,
        StorageFull, Overloaded, StoreError, after which nothing is left of the upload.
        """
        if self._arriving >= UPLOADS_AT_ONCE:
            raise Overloaded("other archives are arriving; try again", retry_after_s=10)
        self._arriving += 1
        place = self._root / f".{uuid.uuid4().hex}"
        self._places.add(place)
        try:
            with refusing():
                digest = await receive_archive(chunks, declared_bytes, place, self._limits)
                made = await asyncio.to_thread(self._keep, place, digest)
                async with self._db.write() as uow:
                    detail = {"dataset_id": made.dataset_id, "digest": digest, "files": made.files}
                    await uow.audit.add(actor, "dataset.upload", None, detail)
                    await uow.commit()
        finally:
            self._arriving -= 1
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
            self._places.discard(place)
        return made

    async def all(self) -> list[UploadedSet]:
        """Oldest first."""
        return await asyncio.to_thread(self._all)

    async def erase(self, dataset_id: str, *, actor: str) -> UploadedSet:
        """Erases a set. Raises DatasetNotFound, JobRunning if an unfinished job uses it, StoreError."""
        found = await asyncio.to_thread(self._facts, dataset_id)
        if found is None:
            raise DatasetNotFound("there is no such uploaded data set")
        for job in await self._queue.page(None, 1000):
            if job.state not in FINAL and job.request.get("dataset") == dataset_id:
                raise JobRunning("a job that is not finished learns from this data set")
        async with self._db.write() as uow:
            await uow.audit.add(actor, "dataset.erase", None, {"dataset_id": dataset_id})
            await uow.commit()
        going = self._root / f".{uuid.uuid4().hex}"
        with suppress(FileNotFoundError):
            await asyncio.to_thread((self._root / dataset_id).rename, going)
        await asyncio.to_thread(shutil.rmtree, going, ignore_errors=True)
        return found

    def remove_abandoned(self) -> None:
        """Removes what a kill left behind of uploads. An upload that is still written to stays."""
        for place in self._root.glob(".*"):
            with suppress(OSError):
                if place not in self._places and not written_since(place, time.time() - ABANDONED_S):
                    shutil.rmtree(place, ignore_errors=True)

    def _keep(self, place: Path, digest: str) -> UploadedSet:
        """Unpacks the received archive and gives the set its name."""
        name = f"upload-{digest[:32]}"
        if (known := self._facts(name)) is not None:
            return known
        (place / SET).mkdir(mode=0o700)
        out = unpack(place / ARCHIVE, place / SET, self._limits, wanted=_wanted)
        root_of(place / SET)
        (place / ARCHIVE).unlink()
        made = UploadedSet(
            dataset_id=name,
            digest=digest,
            files=out.files,
            bytes=out.bytes,
            ignored=out.ignored,
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        write_json(place / FACTS, asdict(made))
        try:
            place.rename(self._root / name)
        except OSError:
            # Another upload of the same archive was faster.
            known = self._facts(name)
            if known is None:
                raise
            return known
        return made

    def _all(self) -> list[UploadedSet]:
        found = [self._facts(place.name) for place in self._root.glob("upload-*")]
        return sorted((one for one in found if one is not None), key=lambda one: one.created_at)

    def _facts(self, dataset_id: str) -> UploadedSet | None:
        if not DATASET_ID.fullmatch(dataset_id):
            return None
        try:
            return UploadedSet(**json.loads((self._root / dataset_id / FACTS).read_bytes()))
        except FileNotFoundError:
            return None


def written_since(place: Path, since_s: float) -> bool:
    """Whether a directory or anything below it was written to at this Unix time or later.

    Writing to a file changes its own time, not that of its directory. Raises OSError if it goes meanwhile.
    """
    if place.stat().st_mtime >= since_s:
        return True
    return any(
        Path(folder, name).stat().st_mtime >= since_s
        for folder, folders, files in os.walk(place)
        for name in (*folders, *files)
    )


def uploaded_root(root: Path, dataset_id: str) -> Path:
    """The root folder of an uploaded set. Raises InvalidParameter."""
    place = root / dataset_id / SET
    if not place.is_dir():
        raise InvalidParameter("`dataset`: there is no such uploaded data set in this data directory")
    try:
        return root_of(place)
    except ArchiveError as error:
        raise InvalidParameter(f"`dataset`: {error}") from error


def root_of(place: Path) -> Path:
    """The folder with manifest.csv or with the subjects' folders, which may lie inside other folders.

    Raises ArchiveError if there is neither.
    """
    for _ in range(MAX_TOP_FOLDERS + 1):
        if (place / MANIFEST).is_file() or any((place / s).is_dir() for s in _subject_folders(place)):
            return place
        inner = [entry for entry in place.iterdir() if entry.is_dir()]
        if len(inner) != 1:
            break
        place = inner[0]
    raise ArchiveError(
        "it holds neither manifest.csv nor a folder for each subject with vis and nir, or references and"
        " probes, in it"
    )


def _subject_folders(place: Path) -> list[str]:
    return [f"{entry.name}/{s}" for entry in place.iterdir() if entry.is_dir() for s in KINDS]


def _wanted(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in PICTURES + BESIDE
