"""One pass of a backfill: embeds the kept crop of every sample that has no template in a space yet.

A pass is resumable and idempotent: the database says what is missing, and a sample has at most one
template in a space. Enrolments write to the space meanwhile, and an erasure is never undone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from faces.types import AlignedCrop, Role
from service.crops import CropUnreadable, decode_crop
from service.inference.batcher import QueueFull
from service.inference.encoder import EncoderError
from service.spaces.space import EmbeddingSpace
from service.spaces.throttle import Throttle
from service.store.database import Database
from service.store.records import StoredCrop
from service.store.spaces import WRITABLE

PAGE = 64
QUEUE_WAIT_S = 0.05
Progress = Callable[["BackfillReport"], Awaitable[None]]
Stop = Callable[[], bool]


@dataclass(slots=True)
class BackfillReport:
    """Counts of samples by the outcome of a pass.

    `total`: samples without a template at the start. `added`: got a template. `skipped`: erased
    meanwhile, or another writer was faster. `without_crop`: no crop is kept. `unreadable`: the crop
    is sealed under another key, or damaged. `failed`: the networks gave no vector.
    """

    total: int = 0
    added: int = 0
    skipped: int = 0
    without_crop: int = 0
    unreadable: int = 0
    failed: int = 0
    stopped: bool = False
    message: str = ""

    @property
    def seen(self) -> int:
        return self.added + self.skipped + self.without_crop + self.unreadable + self.failed

    @property
    def fraction(self) -> float:
        """The share of the samples that the pass has seen, 0 to 1."""
        return min(1.0, self.seen / self.total) if self.total else 1.0

    def as_dict(self) -> dict[str, int | float | bool | str]:
        return asdict(self) | {"fraction": round(self.fraction, 4)}


async def backfill(
    db: Database,
    space: EmbeddingSpace,
    *,
    throttle: Throttle,
    on_progress: Progress,
    stop: Stop,
) -> BackfillReport:
    """Makes one pass over all samples without a template in `space`. Asks `stop` before each turn.

    Stops by itself if the space is no longer writable. Raises StoreError, BatcherClosed, and what
    `on_progress` raises.
    """
    report, after = BackfillReport(), ""
    async with db.read() as uow:
        report.total = await uow.templates.count_missing(space.space_id)
    while True:
        async with db.read() as uow:
            page = await uow.templates.samples_without(space.space_id, after, PAGE)
        if not page:
            return report
        after = page[-1]
        while page:
            take = await throttle.turn()
            if stop():
                report.stopped = True
                return report
            started = time.monotonic()
            writable = await _take_turn(db, space, page[:take], report)
            worked_s, page = time.monotonic() - started, page[take:]
            await on_progress(report)
            if not writable:
                report.stopped = True
                return report
            await throttle.pause(worked_s)


async def _take_turn(
    db: Database, space: EmbeddingSpace, sample_ids: Sequence[str], report: BackfillReport
) -> bool:
    """Embeds some samples and stores them in one transaction; false if the space is no longer writable."""
    alignment = space.manifest.encoder.alignment
    async with db.read() as uow:
        kept = await uow.crops.of_samples(sample_ids, alignment)
    opened = await asyncio.to_thread(_open, list(kept.values()))
    vectors: dict[str, NDArray[np.float32]] = {}
    for sample_id, crop in opened.items():
        if crop is None:
            continue
        try:
            vectors[sample_id] = await embed(space, crop)
        except EncoderError:
            report.failed += 1
    async with db.write() as uow:
        await uow.spaces.lock_shared()
        record = await uow.spaces.get(space.space_id)
        if record is None or record.state not in WRITABLE:
            return False
        made = await uow.templates.add_missing(space.space_id, vectors)
        alive = await uow.samples.existing(sample_ids)
        await uow.commit()
    # An erased sample has no crop either, but counts as skipped.
    without = [sample_id for sample_id in sample_ids if sample_id not in kept]
    erased = sum(sample_id not in alive for sample_id in without)
    report.added += len(made)
    report.skipped += len(vectors) - len(made) + erased
    report.without_crop += len(without) - erased
    report.unreadable += sum(crop is None for crop in opened.values())
    return True


async def embed(space: EmbeddingSpace, crop: AlignedCrop) -> NDArray[np.float32]:
    """A reference template: a unit vector, float32 [d]. Waits while live requests fill the queue.

    Raises EncoderError, BatcherClosed.
    """
    while True:
        try:
            (template,) = await space.engine.encoder.embed(crop, Role.REFERENCE)
            return template.vector
        except QueueFull:
            await asyncio.sleep(QUEUE_WAIT_S)


def _open(kept: Sequence[StoredCrop]) -> dict[str, AlignedCrop | None]:
    opened: dict[str, AlignedCrop | None] = {}
    for crop in kept:
        try:
            opened[crop.sample_id] = decode_crop(crop)
        except CropUnreadable:
            opened[crop.sample_id] = None
    return opened
