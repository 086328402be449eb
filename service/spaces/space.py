"""One embedding space in service: networks, gallery, thresholds, and the position in the gallery log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np

from faces.bundle import Manifest
from faces.calibration import Calibration
from service.gallery.base import Gallery
from service.inference.engine import Engine
from service.spaces.thresholds import InForce
from service.store.database import Database

TAIL_ROWS = 2000


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
    _in_force: InForce | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def space_id(self) -> str:
        return self.manifest.space_id

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
        """Fills the gallery from the database: one snapshot, then the tail of the log."""
        async with self._lock:
            async with db.read() as uow:
                snapshot = await uow.log.snapshot(self.space_id)
            self.gallery.clear()
            if len(snapshot.ids):
                await asyncio.to_thread(self.gallery.add, snapshot.ids, snapshot.vectors)
            self.applied_seq = snapshot.seq
            self.filled = True
        await self.catch_up(db)

    async def follow(self, db: Database) -> None:
        """Fills the gallery the first time, then applies the tail of the log."""
        if self.filled:
            await self.catch_up(db)
        else:
            await self.load_gallery(db)

    async def catch_up(self, db: Database) -> int:
        """Applies the log rows after `applied_seq`; returns their number."""
        applied = 0
        async with self._lock:
            while True:
                async with db.read() as uow:
                    entries = await uow.log.tail(self.space_id, self.applied_seq, TAIL_ROWS)
                for entry in entries:
                    ids = np.array([entry.template_id], np.int64)
                    if entry.op == "remove":
                        self.gallery.remove(ids)
                    elif entry.vector is not None:
                        self.gallery.add(ids, entry.vector[None, :])
                    self.applied_seq = entry.seq
                applied += len(entries)
                if len(entries) < TAIL_ROWS:
                    return applied

    async def behind(self, db: Database) -> int:
        """The number of log rows that this gallery has not applied yet."""
        async with db.read() as uow:
            return max(0, await uow.log.head(self.space_id) - self.applied_seq)
