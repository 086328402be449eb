"""Fill a space: embed the kept crops of every sample that has no template in it yet.

Resumable and idempotent: what is missing is asked of the database each time, and a sample has one template
a space at most. Enrolments write to the space themselves while this runs, and erasures are never undone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from faces.types import AlignedCrop, Role
from service.crops import CropUnreadable, CropVault
from service.inference.batcher import QueueFull
from service.inference.encoder import EncoderError
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from service.store.records import StoredCrop
from service.store.spaces import WRITABLE

PAGE = 64
QUEUE_WAIT_S = 0.05
Progress = Callable[["BackfillReport"], Awaitable[None]]
Stop = Callable[[], bool]


@dataclass(slots=True)
class BackfillReport:
    """What became of each sample that was looked at.

    `added`: has a template now. `skipped`: erased meanwhile, or another writer was faster.
    `without_crop`: no crop is kept. `unreadable`: sealed under another key, or changed.
    `failed`: the networks gave no vector. `total`: how many were missing at the start.
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
        """How much of it is done, 0 to 1."""
        return min(1.0, self.seen / self.total) if self.total else 1.0

    def as_dict(self) -> dict[str, int | float | bool | str]:
        return asdict(self) | {"fraction": round(self.fraction, 4)}


@dataclass(slots=True, kw_only=True)
class Throttle:
    """Gives way to live requests, and rests in proportion to the work that was measured.

    `busy` says whether a request is in work. While there are requests, a turn waits for a gap, but no
    longer than `patience` times what the last one took, nor than `max_wait_s`; then it takes one
    crop, the least that a request can be held up by. So the worst that requests see is one turn in
    `patience` + `rest` + 1 at their side. After `quiet_s` without any it takes `batch` crops.
    Behind a turn of w seconds comes a rest of `rest` x w.
    """

    busy: Callable[[], bool]
    rest: float = 1.0
    patience: float = 2.0
    batch: int = 8
    max_wait_s: float = 0.5
    quiet_s: float = 5.0
    poll_s: float = 0.005
    _last_busy: float = field(default=-1e9)
    _worked_s: float = field(default=1.0)

    async def turn(self) -> int:
        """Wait for a gap; how many crops to take now."""
        end = time.monotonic() + min(self.max_wait_s, self.patience * self._worked_s)
        while self.busy() and time.monotonic() < end:
            self._last_busy = time.monotonic()
            await asyncio.sleep(self.poll_s)
        return 1 if time.monotonic() - self._last_busy < self.quiet_s else self.batch

    async def pause(self, worked_s: float) -> None:
        """Rest after a turn, looking out for requests meanwhile."""
        self._worked_s = worked_s
        end = time.monotonic() + self.rest * worked_s
        while True:
            if self.busy():
                self._last_busy = time.monotonic()
            if (left := end - time.monotonic()) <= 0:
                return
            await asyncio.sleep(min(self.poll_s, left))


async def backfill(
    db: Database,
    space: EmbeddingSpace,
    crops: CropVault,
    *,
    throttle: Throttle,
    on_progress: Progress,
    stop: Stop,
) -> BackfillReport:
    """Go once through all samples without a template in `space`. `stop` is asked before each turn.

    Stops by itself where the space is no longer written to. Raises StoreError.
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
            going_on = await _fill(db, space, crops, page[:take], report)
            worked_s, page = time.monotonic() - started, page[take:]
            await on_progress(report)
            if not going_on:
                report.stopped = True
                return report
            await throttle.pause(worked_s)


async def _fill(
    db: Database, space: EmbeddingSpace, crops: CropVault, sample_ids: Sequence[str], report: BackfillReport
) -> bool:
    """One turn, one transaction; false where the space is no longer to be filled."""
    alignment = space.manifest.encoder.alignment
    async with db.read() as uow:
        kept = await uow.crops.of_samples(sample_ids, alignment)
    opened = await asyncio.to_thread(_open, crops, list(kept.values()))
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
    # No crop because the whole sample is gone is not the same as none kept.
    without = [sample_id for sample_id in sample_ids if sample_id not in kept]
    erased = sum(sample_id not in alive for sample_id in without)
    report.added += len(made)
    report.skipped += len(vectors) - len(made) + erased
    report.without_crop += len(without) - erased
    report.unreadable += sum(crop is None for crop in opened.values())
    return True


async def embed(space: EmbeddingSpace, crop: AlignedCrop) -> NDArray[np.float32]:
    """A reference template, float32 [d], patiently: live requests fill the queue first.

    Raises EncoderError.
    """
    while True:
        try:
            return (await space.engine.encoder.embed(crop, Role.REFERENCE)).vector
        except QueueFull:
            await asyncio.sleep(QUEUE_WAIT_S)


def _open(vault: CropVault, kept: Sequence[StoredCrop]) -> dict[str, AlignedCrop | None]:
    opened: dict[str, AlignedCrop | None] = {}
    for crop in kept:
        try:
            opened[crop.sample_id] = vault.open(crop)
        except CropUnreadable:
            opened[crop.sample_id] = None
    return opened
