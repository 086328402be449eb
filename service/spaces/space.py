"""One embedding space in service: networks, gallery, thresholds, and the position in the gallery log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

import numpy as np
import structlog
from numpy.typing import NDArray

from faces.bundle import Manifest
from faces.calibration import Calibration
from faces.cohort import Cohort
from faces.types import Condition, Role
from service.gallery.base import Gallery
from service.gallery.exact import ExactGallery
from service.gallery.rows import RowsLost
from service.inference.engine import Engine
from service.spaces.snapshots import GallerySnapshots
from service.spaces.thresholds import InForce
from service.store.database import Database
from service.store.records import LogEntry

TAIL_ROWS = 2000
# More changes at once than these take a thread.
CHANGED_ON_THE_LOOP = 16

log = structlog.get_logger("halflight.spaces")


@dataclass(slots=True, eq=False)
class EmbeddingSpace:
    """Networks, gallery and thresholds that belong together; a request takes one reference, once.

    `digest`: of the bundle that they come from. `applied_seq`: number of the last log row that the
    gallery has applied. `filled`: whether the gallery has loaded its snapshot.
    """

    manifest: Manifest
    engine: Engine
    gallery: Gallery
    digest: str = ""
    applied_seq: int = 0
    filled: bool = False
    snapshots: GallerySnapshots | None = None
    _in_force: InForce | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def space_id(self) -> str:
        return self.manifest.space_id

    @property
    def cohort(self) -> Cohort | None:
        """What scores are relative to; None where they are cosines."""
        return self.engine.cohort

    @property
    def cohort_id(self) -> str | None:
        """The id of the cohort; None where scores are cosines."""
        return self.bundle_calibration.cohort_id

    def taken(self, vector: NDArray[np.float32], role: Role, condition: Condition) -> dict[Condition, float]:
        """What comes off the cosines of a template [d] with those of each condition; nothing without a
        cohort."""
        return {} if self.cohort is None else self.cohort.taken_by_other(vector, role, condition)

    @property
    def bundle_calibration(self) -> Calibration:
        """The bundle's own thresholds. SpaceRegistry refuses a bundle without any."""
        assert self.manifest.calibration is not None  # noqa: S101 - checked by SpaceRegistry
        return self.manifest.calibration

    @property
    def thresholds(self) -> InForce:
        """What decides here: the bundle's thresholds, and over them those that were installed."""
        if self._in_force is None:
            self._in_force = InForce(self.bundle_calibration)
        return self._in_force

    def decide_by(self, in_force: InForce) -> None:
        """Decides by other thresholds from the next request on."""
        self._in_force = in_force

    @property
    def calibration(self) -> Calibration:
        """The thresholds of probes that come from no camera of their own."""
        return self.thresholds.of(None).calibration

    async def load_gallery(self, db: Database) -> None:
        """Fills the gallery from its snapshot or the database, then applies the tail of the log."""
        async with self._lock:
            if not await self._restore():
                await self._fill(db)
        await self.catch_up(db)

    async def _restore(self) -> bool:
        """Fills the gallery from its snapshot; whether there is one that can be used."""
        if self.snapshots is None or not isinstance(self.gallery, ExactGallery):
            return False
        gallery = self.gallery.empty()
        loaded = await self.snapshots.load(self.space_id, self.manifest.encoder.dimension, gallery)
        if loaded is None:
            return False
        self.gallery, self.applied_seq, self.filled = gallery, loaded.seq, True
        return True

    async def _fill(self, db: Database) -> None:
        """Fills another gallery and takes it once it is complete, so that no search sees half of one."""
        old, started = self.gallery, time.monotonic()
        gallery = old.empty() if isinstance(old, ExactGallery) else old
        if gallery is old:
            gallery.clear()
        async with db.read() as uow:
            # The number comes first: a commit in between appears in the rows and again in the tail.
            seq = await uow.log.head(self.space_id)
            async for ids, vectors in uow.log.every(self.space_id):
                await asyncio.to_thread(gallery.add, ids, vectors)
        self.gallery, self.applied_seq, self.filled = gallery, seq, True
        log.info(
            "gallery filled from the database",
            space_id=self.space_id,
            templates=gallery.size,
            seconds=round(time.monotonic() - started, 2),
        )

    async def look_at_seals(self, db: Database) -> None:
        """Does nothing: the gallery has opened every template when it was filled."""

    async def follow(self, db: Database) -> None:
        """Fills the gallery the first time, then applies the tail of the log."""
        if self.filled:
            await self.catch_up(db)
        else:
            await self.load_gallery(db)

    async def catch_up(self, db: Database) -> int:
        """Applies the log rows after `applied_seq`; returns their number.

        A gallery that has lost rows is filled anew.
        """
        async with self._lock:
            if isinstance(self.gallery, ExactGallery) and self.gallery.damaged:
                await self._fill_again(db)
            try:
                return await self._apply_tail(db)
            except RowsLost:
                await self._fill_again(db)
                return await self._apply_tail(db)

    async def _fill_again(self, db: Database) -> None:
        log.error("the gallery has lost rows and is filled anew", space_id=self.space_id)
        await self._fill(db)

    async def _apply_tail(self, db: Database) -> int:
        applied = 0
        while True:
            async with db.read() as uow:
                entries = await uow.log.tail(self.space_id, self.applied_seq, TAIL_ROWS)
            for op, group in groupby(entries, key=lambda entry: entry.op):
                await self._apply(op, list(group))
            applied += len(entries)
            if len(entries) < TAIL_ROWS:
                return applied

    async def _apply(self, op: str, entries: Sequence[LogEntry]) -> None:
        """Applies consecutive entries of one kind."""
        if op == "remove":
            gone = np.array([one.template_id for one in entries], np.int64)
            change = partial(self.gallery.remove, gone)
        else:
            # What is removed later in the log has no vector any more.
            vectors = {one.template_id: one.vector for one in entries if one.vector is not None}
            rows = np.array(list(vectors.values()), np.float32)
            rows = rows.reshape(len(vectors), self.manifest.encoder.dimension)
            change = partial(self.gallery.add, np.array(list(vectors), np.int64), rows)
        if len(entries) > CHANGED_ON_THE_LOOP:
            await asyncio.to_thread(change)
        else:
            change()
        self.applied_seq = entries[-1].seq

    async def behind(self, db: Database) -> int:
        """The number of log rows that this gallery has not applied yet."""
        async with db.read() as uow:
            return max(0, await uow.log.head(self.space_id) - self.applied_seq)
