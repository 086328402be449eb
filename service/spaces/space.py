"""One embedding space in service: its networks, its gallery and how far the gallery has read the log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np

from faces.bundle import Manifest
from faces.calibration import Calibration
from service.gallery.base import Gallery
from service.inference.engine import Engine
from service.store.database import Database

TAIL_ROWS = 2000


@dataclass(slots=True, eq=False)
class EmbeddingSpace:
    """Networks, gallery and thresholds that belong together; a request takes one reference, once.

    `digest` names the bundle that all of it came from.
    """

    manifest: Manifest
    engine: Engine
    gallery: Gallery
    digest: str = ""
    applied_seq: int = 0
    filled: bool = False
    _feeding: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def space_id(self) -> str:
        return self.manifest.space_id

    @property
    def calibration(self) -> Calibration:
        """The thresholds. A space without any is refused when it is loaded."""
        assert self.manifest.calibration is not None  # noqa: S101 - checked by SpaceRegistry
        return self.manifest.calibration

    async def load_gallery(self, db: Database) -> None:
        """Fill the gallery from the truth: one snapshot, then the log's tail."""
        async with self._feeding:
            async with db.read() as uow:
                snapshot = await uow.log.snapshot(self.space_id)
            self.gallery.clear()
            if len(snapshot.ids):
                await asyncio.to_thread(self.gallery.add, snapshot.ids, snapshot.vectors)
            self.applied_seq = snapshot.seq
            self.filled = True
        await self.catch_up(db)

    async def follow(self, db: Database) -> None:
        """Fill the gallery the first time, then keep up with the log."""
        if self.filled:
            await self.catch_up(db)
        else:
            await self.load_gallery(db)

    async def catch_up(self, db: Database) -> int:
        """Apply what the log holds beyond `applied_seq`; the number of rows applied."""
        applied = 0
        async with self._feeding:
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
        """Log rows that this gallery has not applied yet."""
        async with db.read() as uow:
            return max(0, await uow.log.head(self.space_id) - self.applied_seq)
