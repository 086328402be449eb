"""Removes reports of evaluations that name an erased subject.

A report holds names of files, and so of subjects, and may show their faces. Beside it lie the ids of the keys
of those subjects that are enrolled. An erasure tells the ids of the keys that it shredded, and every report
that knows one of them goes as a whole. What another replica erased, or a kill left, is found every hour. A
name that belongs to no enrolled subject goes with the report, a day after it was written.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from faces.files import write_json
from service.evaluation.report import PAGE
from service.store.database import Database

# Beside `report`, which the training package writes.
REPORT = "site-report"
PEOPLE = "people.json"
REPORT_KEPT_S = 24 * 3600.0


def report_page(job_directory: Path) -> Path:
    """The place of a job's report."""
    return job_directory / REPORT / PAGE


def remove_old_reports(jobs: Path) -> None:
    """Removes reports that are older than `REPORT_KEPT_S`."""
    for page in jobs.glob(f"*/{REPORT}/{PAGE}"):
        if page.stat().st_mtime < time.time() - REPORT_KEPT_S:
            shutil.rmtree(page.parent, ignore_errors=True)


async def write_with_people(
    db: Database, out: Path, subject_ids: Collection[str], write: Callable[[], object]
) -> None:
    """Calls `write`, which writes a report that names these subjects into `out`, so that no erasure misses
    it: one that comes meanwhile removes what was written. Raises StoreError, OSError.
    """
    keys = await _keys_of(db, subject_ids)
    await asyncio.to_thread(_note, out, keys)
    await asyncio.to_thread(write)
    async with db.read() as uow:
        left = await uow.subject_keys.key_ids()
    if not keys <= left:
        await asyncio.to_thread(shutil.rmtree, out, ignore_errors=True)


async def _keys_of(db: Database, subject_ids: Collection[str]) -> set[str]:
    async with db.read() as uow:
        keys = await uow.subject_keys.of_subjects(list(subject_ids))
    return {key.key_id for key in keys.values()}


def _note(out: Path, key_ids: Collection[str]) -> None:
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_json(out / PEOPLE, sorted(key_ids))


def forget_reports(jobs: Path, key_ids: Collection[str]) -> None:
    """Removes the reports that name a subject of these keys. Raises OSError."""
    for directory, known in _known(jobs):
        if not known.isdisjoint(key_ids):
            shutil.rmtree(directory)


async def look_through_reports(db: Database, jobs: Path) -> None:
    """Removes old reports, and those that name somebody whose key is gone. Raises StoreError, OSError."""
    await asyncio.to_thread(remove_old_reports, jobs)
    reports = await asyncio.to_thread(lambda: list(_known(jobs)))
    if not any(known for _, known in reports):
        return
    async with db.read() as uow:
        left = await uow.subject_keys.key_ids()
    for directory, known in reports:
        if not known <= left:
            await asyncio.to_thread(shutil.rmtree, directory)


def _known(jobs: Path) -> Iterator[tuple[Path, set[str]]]:
    for file in jobs.glob(f"*/{REPORT}/{PEOPLE}"):
        try:
            yield file.parent, set(json.loads(file.read_bytes()))
        except FileNotFoundError:
            # Another thread removed it.
            continue
