"""Bytes that the database takes for one enrolled photo, with and without its kept crop.

    python -m benchmarks.storage [--rounds 8]

Enrols the rendered samples again and again, each time with other noise, over the service's own way into a
fresh SQLite database in a temporary directory. After the first round, which makes subjects and their keys,
only samples, templates and crops are added. What the file then grows by, after a checkpoint, is divided by
the photos.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import tempfile
from contextlib import aclosing
from pathlib import Path

from benchmarks.bulk import ASKED, new_photos
from faces import bundle
from service.api.schemas.event_bodies import event_body
from service.api.schemas.subjects import enrol_answer
from service.bulk.folders import FolderSource
from service.bulk.job import PhotoEnroller
from service.bulk.journal import Journal
from service.bulk.run import enrol_all
from service.inference.engine import EngineOptions
from service.settings import Settings, builtin_bundle
from service.state import State, open_state
from service.telemetry import Metrics


async def enrol(state: State, root: Path, work: Path) -> int:
    """How many photos below `root` were enrolled."""
    source, before = FolderSource(root), state.space().gallery.size
    source.count()
    with Journal(work, {"root": str(root)}) as journal:
        one = PhotoEnroller(state.db, state.registry, state.enroller, ASKED, lambda: False, journal)
        async with aclosing(enrol_all(source, one.enrol, journal, at_once=8, in_order=True)) as outcomes:
            async for _ in outcomes:
                pass
    return state.space().gallery.size - before


def database_bytes(data: Path) -> int:
    """Size of the SQLite file, once everything of its journal is in it."""
    path = data / "halflight.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


async def measure(rounds: int, *, keep_crops: bool, place: Path) -> tuple[float, int]:
    """Bytes for one photo, and the number of photos that they come from."""
    settings = Settings(data_dir=place / "data", bundle_dir=builtin_bundle(), keep_crops=keep_crops)
    state = await open_state(settings, Metrics(), enrol_answer, event_body)
    await state.registry.open(bundle.read(settings.bundle_dir), EngineOptions.of(settings))
    try:
        photos, first = 0, 0
        for seed in range(rounds):
            root = place / f"photos{seed}"
            new_photos(root, seed)
            added = await enrol(state, root, place / f"work{seed}")
            if seed == 0:
                first = database_bytes(settings.data_dir)
            else:
                photos += added
        return (database_bytes(settings.data_dir) - first) / photos, photos
    finally:
        await state.registry.close()
        await state.pipeline.close()
        await state.db.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=8, help="at least 2; 28 photos each")
    args = parser.parse_args()
    for keep_crops in (True, False):
        with tempfile.TemporaryDirectory() as place:
            each, photos = asyncio.run(measure(args.rounds, keep_crops=keep_crops, place=Path(place)))
        print(f"{'with' if keep_crops else 'without'} crops: {each:,.0f} bytes a photo, over {photos} photos")


if __name__ == "__main__":
    main()
