"""Keeps a sealed snapshot of each gallery on the disk, so that a start need not open every stored template.

The order of steps makes it right. `write` first takes keys and the head of the log in one transaction, then
lets the gallery apply the log up to there, then gathers. An erasure that commits before is seen by the
gallery; one that commits after deletes the key of what is being written.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog

from service.errors import NotReady
from service.gallery.exact import ExactGallery
from service.gallery.rows import RowsLost, SealedRows
from service.sealing.keys import SealBroken
from service.sealing.segments import SEGMENT_IDS
from service.spaces.snapshot_files import Head, Part, SnapshotFiles, SnapshotRefused
from service.store.database import Database
from service.store.errors import StoreError
from service.store.snapshot_keys import SnapshotKey

if TYPE_CHECKING:
    from service.spaces.space import EmbeddingSpace

log = structlog.get_logger("halflight.snapshots")

# Between two segments of stored rows that are looked at after a start.
CHECK_PAUSE_S = 0.1
# How often `write` looks again for segments that came meanwhile.
ATTEMPTS = 3


@dataclass(slots=True, eq=False)
class _Kept:
    """What lies on the disk of one space. `pending`: segments that have to be written again.

    `head_keys`: names of the keys of the last heads, the newest last.
    """

    files: SnapshotFiles
    gallery: ExactGallery | None = None
    head: Head | None = None
    pending: set[int] = field(default_factory=set)
    tidy: bool = False
    head_keys: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Loaded:
    """`seq`: the log after it leads to the present. `stale`: segments that came from the database."""

    seq: int
    templates: int
    stale: int


class GallerySnapshots:
    """Snapshots below `directory`, of galleries with at least `least` templates.

    `count`: called with how a gallery was filled, `snapshot`, `database`, or the reason for a refusal.
    """

    def __init__(
        self, db: Database, directory: Path, *, least: int, count: Callable[[str], None] = lambda _way: None
    ) -> None:
        self._db, self._directory, self._least, self._count = db, directory, least, count
        self._kept: dict[str, _Kept] = {}
        self._unchecked: set[str] = set()

    def of(self, space_id: str) -> Path:
        """The directory of one space."""
        if Path(space_id).name != space_id:
            raise ValueError("a space's id is no name of a directory")
        return self._directory / space_id

    async def load(self, space_id: str, dimension: int, gallery: ExactGallery) -> Loaded | None:
        """Fills an empty gallery from the snapshot; None if there is none, or it is refused.

        After a refusal the gallery is of no more use. Raises StoreError.
        """
        files, started = self._of(space_id).files, time.monotonic()
        try:
            key_id = await asyncio.to_thread(files.head_key)
            if key_id is None:
                self._count("database")
                return None
            loaded, head = await self._load(files, key_id, dimension, gallery)
        except (SnapshotRefused, SealBroken, RowsLost, OSError, ValueError, KeyError, TypeError) as error:
            reason = error.reason if isinstance(error, SnapshotRefused) else "damaged"
            log.warning(
                "the snapshot of a gallery is refused; the database fills it, which takes longer",
                space_id=space_id,
                reason=reason,
                kind=type(error.__cause__ or error).__name__,
            )
            self._count(reason)
            return None
        kept = self._of(space_id)
        kept.gallery, kept.head, kept.head_keys = gallery, head, [key_id]
        self._unchecked.add(space_id)
        self._count("snapshot")
        log.info(
            "gallery loaded from its snapshot",
            space_id=space_id,
            templates=loaded.templates,
            segments_from_database=loaded.stale,
            seconds=round(time.monotonic() - started, 2),
        )
        return loaded

    async def _load(
        self, files: SnapshotFiles, key_id: str, dimension: int, gallery: ExactGallery
    ) -> tuple[Loaded, Head]:
        space_id = files.space_id
        async with self._db.read() as uow:
            key = await uow.snapshots.head(space_id, key_id)
            keys = await uow.snapshots.segments(space_id)
            begins, newest = await uow.snapshots.log_begins(space_id), await uow.log.head(space_id)
        if key is None:
            raise SnapshotRefused("another key")
        head = await asyncio.to_thread(files.read_head, key)
        if head.seq > newest:
            raise SnapshotRefused("ahead of the log")
        if begins > head.seq + 1:
            raise SnapshotRefused("older than the log")
        fresh = {n: part for n, part in head.parts.items() if n in keys and keys[n].key_id == part.key_id}
        await asyncio.to_thread(gallery.restore, files.read_segments(fresh, keys, dimension), files.directory)
        # What an erasure ended is taken from the database, and nothing else.
        stale = [n for n in head.parts if n not in fresh]
        for number in stale:
            first = number * SEGMENT_IDS
            async with self._db.read() as uow:
                async for ids, vectors in uow.log.every(space_id, first, first + SEGMENT_IDS):
                    await asyncio.to_thread(gallery.add, ids, vectors)
        return Loaded(head.seq, gallery.size, len(stale)), Head(head.seq, fresh)

    async def write(self, space: EmbeddingSpace) -> bool:
        """Writes what changed since the last snapshot; false if nothing did, or another process writes.

        Raises StoreError, and OSError if the disk does not take it; the old snapshot stays then.
        """
        gallery = space.gallery
        if not isinstance(gallery, ExactGallery) or not space.filled or gallery.size < self._least:
            return False
        kept = self._of(space.space_id)
        if not await asyncio.to_thread(kept.files.lock):
            return False
        if kept.gallery is not gallery:
            kept.gallery, kept.head = gallery, None
        kept.pending |= gallery.take_touched()
        old = {} if kept.head is None else kept.head.parts
        found = await self._keys_and_position(space, gallery, kept, old)
        if found is None:
            await self._tidy(kept)
            return False
        keys, head_key, seq, numbers = found
        dirty = {n for n in numbers if n in kept.pending or n not in old or old[n].key_id != keys[n].key_id}
        parts = await self._write_segments(kept.files, gallery, keys, sorted(dirty))
        head = Head(seq, {n: old[n] for n in numbers if n not in dirty} | parts)
        await asyncio.to_thread(kept.files.write_head, head, head_key)
        kept.head, kept.pending = head, kept.pending - dirty
        kept.head_keys = [*kept.head_keys[-1:], head_key.key_id]
        kept.tidy = False
        await self._tidy(kept)
        log.info("snapshot written", space_id=space.space_id, templates=gallery.size, segments=len(parts))
        return True

    async def _tidy(self, kept: _Kept) -> None:
        """Removes files that nothing refers to: of the snapshot before, or of a process that was killed."""
        if kept.head is not None and kept.gallery is not None and not kept.tidy:
            needed = kept.head.names() | kept.gallery.file_names()
            await asyncio.to_thread(kept.files.remove_others, needed)
            kept.tidy = True

    async def _keys_and_position(
        self, space: EmbeddingSpace, gallery: ExactGallery, kept: _Kept, old: Collection[int]
    ) -> tuple[dict[int, SnapshotKey], SnapshotKey, int, set[int]] | None:
        """Keys of all segments and of the head, and a position of the log that the gallery has reached.

        None if nothing has changed, or the gallery grows faster than keys are made.
        """
        numbers = _segments(gallery)
        async with self._db.read() as uow:
            keys = await uow.snapshots.segments(space.space_id)
        same = kept.head is not None and all(
            n in keys and n in kept.head.parts and kept.head.parts[n].key_id == keys[n].key_id
            for n in numbers
        )
        if same and not kept.pending and set(old) == numbers:
            return None
        for _ in range(ATTEMPTS):
            async with self._db.write() as uow:
                await uow.snapshots.make_segments(space.space_id, sorted(numbers))
                keys = await uow.snapshots.segments(space.space_id)
                former = kept.head_keys[0] if len(kept.head_keys) > 1 else None
                head_key = await uow.snapshots.new_head(space.space_id, former)
                newest = await uow.log.head(space.space_id)
                await uow.commit()
            while space.applied_seq < newest:
                await space.catch_up(self._db)
            if space.gallery is not gallery:
                return None
            seq = space.applied_seq
            # Whatever the log says up to `seq` is in these segments.
            kept.pending |= gallery.take_touched()
            numbers = _segments(gallery)
            if numbers <= set(keys):
                return keys, head_key, seq, numbers
        return None

    async def _write_segments(
        self, files: SnapshotFiles, gallery: ExactGallery, keys: dict[int, SnapshotKey], dirty: list[int]
    ) -> dict[int, Part]:
        """Writes segments; they and the files of rows that they refer to last when it returns."""
        parts: dict[int, Part] = {}
        referred: list[SealedRows] = []

        def write(number: int) -> None:
            gathered = gallery.segment(number, files.directory)
            if gathered is not None:
                segment, rows = gathered
                referred.extend(one for one in rows if one not in referred)
                parts[number] = files.write_segment(number, segment, keys[number])

        for number in dirty:
            await asyncio.to_thread(write, number)
        for rows in referred:
            await asyncio.to_thread(rows.sync)
        return parts

    async def check(self, space: EmbeddingSpace) -> None:
        """After a start from a snapshot, opens the stored templates once, little by little.

        Those that do not open are refused and leave the gallery, as they do when the database fills it.
        Raises StoreError.
        """
        gallery = space.gallery
        if space.space_id not in self._unchecked or not isinstance(gallery, ExactGallery):
            return
        refused = 0
        for number in sorted(_segments(gallery)):
            first = number * SEGMENT_IDS
            # Those that are there before the database is read are in it, unless they were erased.
            held = gallery.ids_of(number)
            opened = [np.empty(0, np.int64)]
            async with self._db.read() as uow:
                async for ids, _ in uow.log.every(space.space_id, first, first + SEGMENT_IDS):
                    opened.append(ids)
            gone = np.setdiff1d(held, np.concatenate(opened))
            await asyncio.to_thread(gallery.remove, gone)
            refused += len(gone)
            await asyncio.sleep(CHECK_PAUSE_S)
        self._unchecked.discard(space.space_id)
        log.info("stored templates looked through", space_id=space.space_id, removed=refused)

    async def pass_over(self, spaces: Collection[EmbeddingSpace]) -> None:
        """Writes the snapshots of these spaces and removes what is left of others. Never raises OSError."""
        try:
            async with self._db.read() as uow:
                known = {record.space_id for record in await uow.spaces.all()}
            await asyncio.to_thread(self._sweep, known)
            for space in spaces:
                await self.write(space)
                await self.check(space)
        except (StoreError, OSError, NotReady) as error:
            log.warning("a snapshot cannot be written now", kind=type(error.__cause__ or error).__name__)

    def close(self) -> None:
        """Lets other processes write."""
        for kept in self._kept.values():
            kept.files.close()

    def _of(self, space_id: str) -> _Kept:
        if space_id not in self._kept:
            self._kept[space_id] = _Kept(SnapshotFiles(self.of(space_id), space_id))
        return self._kept[space_id]

    def _sweep(self, known: Collection[str]) -> None:
        for path in self._directory.iterdir() if self._directory.is_dir() else ():
            if path.is_dir() and path.name not in known:
                if (kept := self._kept.pop(path.name, None)) is not None:
                    kept.files.close()
                shutil.rmtree(path, ignore_errors=True)


def _segments(gallery: ExactGallery) -> set[int]:
    return set(np.unique(gallery.ids() // SEGMENT_IDS).tolist())
