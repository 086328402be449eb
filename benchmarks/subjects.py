"""How long a search for subjects takes, by the size of the gallery.

    python -m benchmarks.subjects --subjects 10000 100000

Fills a fresh SQLite database in a temporary directory and asks the search that `GET /subjects` uses. A
search by id, name or metadata opens subjects one by one, at most 20,000 in a request; `requests` says how
many a search through all of them took.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert

from faces.types import Spectrum
from service.sealing.keys import SubjectKey
from service.sealing.sources import KeyFile, MasterKeys
from service.store.database import Database
from service.store.descriptions import seal_description
from service.store.records import SubjectSelection
from service.store.subject_ids import seal_id
from service.store.tables import samples, subject_keys, subjects
from service.subjects.search import SubjectQuery, search

ROWS_AT_ONCE = 5000
REPEATS = 5
FIRST, LAST = ("Zoë", "José", "Anna", "Łukasz", "小龍", "Fatima"), ("Müller", "Ñuñez", "Brown", "李", "Øst")


async def fill(db: Database, count: int) -> None:
    """Adds subjects with a name, metadata and one sample each; 1 in 1,000 samples is masked NIR."""
    now = datetime.now(UTC)
    for start in range(0, count, ROWS_AT_ONCE):
        numbers = range(start, min(count, start + ROWS_AT_ONCE))
        async with db.write() as uow:
            ids, master = await uow.subject_keys.ids.key(), await uow.subject_keys.current_master()
        tokens = {i: ids.token(f"staff-{i:08}") for i in numbers}
        keys = {i: SubjectKey.new() for i in numbers}
        people = [
            {
                "subject_id": tokens[i],
                "metadata": {},
                "sealed": seal_description(
                    keys[i],
                    {"desk": i % 1000, "hall": f"H{i % 7}", "note": "x" * 60},
                    f"{FIRST[i % 6]} {LAST[i % 5]} {i}",
                ),
                "sealed_id": seal_id(keys[i], tokens[i], f"staff-{i:08}"),
                "created_at": now,
                "updated_at": now,
            }
            for i in numbers
        ]
        wrapped = [
            {
                "subject_id": tokens[i],
                "key_id": keys[i].key_id,
                "master_id": master.key_id,
                "wrapped": master.wrap(tokens[i], keys[i]),
            }
            for i in numbers
        ]
        photos = [
            {
                "sample_id": f"{i:036}",
                "subject_id": tokens[i],
                "digest": f"{i:064}",
                "spectrum": ("nir" if i % 1000 == 0 else "vis"),
                "masked": i % 1000 == 0,
                "mask_probability": 0.5,
                "quality_score": 80,
                "inter_eye_px": 60.0,
                "source_width": 640,
                "source_height": 480,
                "created_at": now,
            }
            for i in numbers
        ]
        async with db.write() as uow:
            await uow.connection.execute(insert(subjects), people)
            await uow.connection.execute(insert(subject_keys), wrapped)
            await uow.connection.execute(insert(samples), photos)
            await uow.commit()


async def ask(db: Database, query: SubjectQuery, *, through: bool) -> tuple[float, float, int, int]:
    """Milliseconds, those of the processor, requests, subjects found.

    `through`: follow the pages to the end. On a busy machine read the processor's time.
    """
    started, worked, pages, found, after = time.perf_counter(), time.process_time(), 0, 0, None
    while True:
        page = await search(db, query, after, 100)
        pages, found, after = pages + 1, found + len(page.subjects), page.next_after
        if after is None or not through:
            ms, cpu_ms = (time.perf_counter() - started) * 1000, (time.process_time() - worked) * 1000
            return ms, cpu_ms, pages, found


async def measure(count: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        masters = MasterKeys(KeyFile(Path(place) / "master.key"))
        db = await Database.open(f"sqlite+aiosqlite:///{Path(place) / 'halflight.db'}", masters)
        await db.migrate()
        await fill(db, count)
        last = f"{count - 1}"
        nir = SubjectSelection(spectrum=Spectrum.NIR, masked=True)
        for what, query, through in (
            ("first page of all", SubjectQuery(), False),
            ("id prefix of one, through all", SubjectQuery(id_prefix=f"staff-{count - 1:08}"), True),
            ("masked NIR samples", SubjectQuery(selection=nir), True),
            ("name of many, first page", SubjectQuery(name="muller"), False),
            ("name of one, through all", SubjectQuery(name=f" {last}"), True),
            ("name of nobody, one request", SubjectQuery(name="nobody"), False),
            (
                "metadata of 1 in 1,000, through all",
                SubjectQuery(metadata_key="desk", metadata_value="7"),
                True,
            ),
        ):
            runs = [await ask(db, query, through=through) for _ in range(REPEATS)]
            ms, cpu_ms = (statistics.median(run[i] for run in runs) for i in (0, 1))
            *_, pages, found = runs[0]
            sys.stdout.write(
                f"{count:>8}  {what:<36} {ms:>9.1f} ms  {cpu_ms:>8.1f} ms of processor"
                f"  {pages:>3} requests  {found:>4} found\n"
            )
            sys.stdout.flush()
        await db.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subjects", type=int, nargs="+", default=[10_000, 100_000])
    for count in parser.parse_args().subjects:
        asyncio.run(measure(count))


if __name__ == "__main__":
    main()
